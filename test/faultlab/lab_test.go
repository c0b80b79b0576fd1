// SPDX-License-Identifier: Apache-2.0

// Package faultlab shows what clients notice when hosts, names and configuration go wrong:
// the real binary in front of backends that are processes of their own, which refuse, hang,
// break off, fail, slow down, vanish and return, found by endpoints and names that change,
// fail and lie.
package faultlab

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir.dev/weir/test/weirtest"
)

// full runs TestFlip as long as it is meant to run: five times 22 seconds of each state.
var full = flag.Bool("full", false, "run the flipping host for 220 s instead of a few")

func TestMain(m *testing.M) {
	if text := os.Getenv(hostVariable); text != "" {
		if err := beHost(text); err != nil {
			fmt.Fprintln(os.Stderr, "faultlab:", err)
			os.Exit(1)
		}
		return
	}
	// The tests mostly wait.
	if err := flag.Set("test.parallel", "16"); err != nil {
		fmt.Fprintln(os.Stderr, "faultlab:", err)
		os.Exit(1)
	}
	weirtest.Main(m)
}

func notify(c chan os.Signal) { signal.Notify(c, syscall.SIGTERM) }

// patience bounds every wait for something that comes by itself.
const patience = 30 * time.Second

// A setup is a proxy with one listener, in Envoy's words.
type setup struct {
	routes   string // of its only virtual host
	rds      string // a file that has the routes instead
	clusters string
	runtime  string // fields of a static layer
	more     string // of the bootstrap
}

const router = `{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}`

func (s setup) yaml() string {
	var b strings.Builder
	fmt.Fprintf(&b, `admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
node: {id: lab, cluster: lab}
layered_runtime: {layers: [{name: lab, static_layer: {%s}}]}
%s
static_resources:
  listeners:
  - name: edge
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: edge
          http_filters: [%s]
          %s
  clusters:
%s`, s.runtime, s.more, router, s.routing(), s.clusters)
	return b.String()
}

func (s setup) routing() string {
	if s.rds != "" {
		return "rds: {route_config_name: edge, config_source: " + fromFile(s.rds) + "}"
	}
	return "route_config: " + routeTable(s.routes)
}

func routeTable(routes string) string {
	return `{name: edge, virtual_hosts: [{name: all, domains: ["*"], routes: [` + routes + `]}]}`
}

// fromFile is a source of configuration that is a file, watched for what is put in its place.
func fromFile(path string) string {
	return "{path_config_source: {path: " + path + ", poll_interval: 0.02s}}"
}

// A resource is a file with one resource of a type, in Envoy's words.
type resource struct {
	t       *testing.T
	path    string
	kind    string
	version int
}

func newResource(t *testing.T, kind, text string) *resource {
	r := &resource{t: t, path: filepath.Join(t.TempDir(), "resource.yaml"), kind: kind}
	r.write(text)
	return r
}

// write puts another version in the place of the one before.
func (r *resource) write(text string) {
	r.t.Helper()
	r.version++
	fresh := r.path + ".new"
	text = fmt.Sprintf("{version_info: '%d', resources: [{\"@type\": type.googleapis.com/%s, %s]}", r.version, r.kind, strings.TrimPrefix(text, "{"))
	if err := os.WriteFile(fresh, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(fresh, r.path); err != nil {
		r.t.Fatal(err)
	}
}

const (
	clusterLoadAssignment = "envoy.config.endpoint.v3.ClusterLoadAssignment"
	routeConfiguration    = "envoy.config.route.v3.RouteConfiguration"
)

func indent(n int, s string) string {
	var b strings.Builder
	for l := range strings.Lines(s) {
		b.WriteString(strings.Repeat(" ", n) + strings.TrimSuffix(l, "\n") + "\n")
	}
	return b.String()
}

// endpoints is the load assignment of a cluster: a group of hosts, and further groups in
// Envoy's words.
func endpoints(hosts []*host, more ...string) string {
	return "{cluster_name: c, endpoints: [" + strings.Join(append([]string{group("", hosts...)}, more...), ", ") + "]}"
}

func group(fields string, hosts ...*host) string {
	var list []string
	for _, h := range hosts {
		list = append(list, "{endpoint: {address: "+address(h.addr)+"}}")
	}
	return "{" + fields + "lb_endpoints: [" + strings.Join(list, ", ") + "]}"
}

func address(addr string) string {
	ip, port, _ := strings.Cut(addr, ":")
	return "{socket_address: {address: " + ip + ", port_value: " + port + "}}"
}

// cluster is the cluster c, with fields on lines of their own.
func cluster(assignment string, fields ...string) string {
	return "  - name: c\n    load_assignment: " + assignment + "\n" + indent(4, strings.Join(fields, "\n"))
}

// discovered is the cluster c, of which a file has the endpoints.
func discovered(r *resource, fields ...string) string {
	return "  - name: c\n    type: EDS\n    eds_cluster_config: {eds_config: " + fromFile(r.path) + "}\n" + indent(4, strings.Join(fields, "\n"))
}

// toC is a route of all requests to the cluster c, with further fields of its action.
func toC(fields string) string { return "{match: {prefix: /}, route: {cluster: c" + fields + "}}" }

// A weir is the binary at work.
type weir struct {
	*weirtest.Process
	t     *testing.T
	addr  string
	admin string
}

var listening = regexp.MustCompile(`admin listening.*address=(\S*?:\d+)`)

// start runs the binary and waits until it serves.
func start(t *testing.T, s setup) *weir {
	t.Helper()
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(file, []byte(s.yaml()), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &weir{Process: weirtest.Start(t, "proxy", "-c", file, "--concurrency", "2"), t: t}
	w.WaitFor("admin listening")
	w.admin = listening.FindStringSubmatch(w.Output())[1]
	w.eventually("the listener", func() (string, bool) {
		text := w.ask("/listeners")
		_, addr, ok := strings.Cut(strings.TrimSpace(text), "edge::")
		w.addr = addr
		return text, ok
	})
	w.eventually("the proxy to be ready", func() (string, bool) {
		text := w.ask("/ready")
		return text, text == "LIVE\n"
	})
	return w
}

// ask asks the admin.
func (w *weir) ask(path string) string {
	w.t.Helper()
	resp, err := http.Get("http://" + w.admin + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// stat reads a counter or gauge; 0 if there is none.
func (w *weir) stat(name string) int {
	w.t.Helper()
	var n int
	for line := range strings.Lines(w.ask("/stats?filter=^" + regexp.QuoteMeta(name) + "$")) {
		if _, err := fmt.Sscanf(line, name+": %d", &n); err != nil {
			w.t.Fatalf("%q: %v", line, err)
		}
	}
	return n
}

// counts is what /clusters?format=json tells of hosts.
type counts struct {
	ClusterStatuses []struct {
		Name         string `json:"name"`
		HostStatuses []struct {
			Address struct {
				SocketAddress struct {
					Address   string `json:"address"`
					PortValue int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"address"`
			Stats []struct {
				Name  string `json:"name"`
				Value string `json:"value"`
			} `json:"stats"`
		} `json:"host_statuses"`
	} `json:"cluster_statuses"`
}

// reached is how many requests were sent to a host; of one that cannot be connected to, with
// those that tried to.
func (w *weir) reached(h *host, connects bool) int {
	w.t.Helper()
	var c counts
	if err := json.Unmarshal([]byte(w.ask("/clusters?format=json")), &c); err != nil {
		w.t.Fatal(err)
	}
	n := 0
	for _, c := range c.ClusterStatuses {
		for _, s := range c.HostStatuses {
			a := s.Address.SocketAddress
			if fmt.Sprintf("%s:%d", a.Address, a.PortValue) != h.addr {
				continue
			}
			for _, v := range s.Stats {
				if v.Name == "rq_total" || v.Name == "cx_total" && connects {
					var x int
					_, _ = fmt.Sscan(v.Value, &x) // A counter that is 0 has no value.
					n += x
				}
			}
		}
	}
	return n
}

// eventually waits until ask is content, and says what it saw last if it never is.
func (w *weir) eventually(what string, ask func() (string, bool)) {
	w.t.Helper()
	eventually(w.t, what, ask)
}

func eventually(t *testing.T, what string, ask func() (string, bool)) {
	t.Helper()
	for late := time.Now().Add(patience); ; <-time.After(5 * time.Millisecond) {
		got, ok := ask()
		if ok {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("waited %v for %s; the last was %s", patience, what, got)
		}
	}
}
