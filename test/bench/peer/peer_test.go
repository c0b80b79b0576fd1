// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/udp/udp_proxy/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// setups are the configurations that the scenarios use.
func setups(t *testing.T) map[string]Setup {
	t.Helper()
	base := Setup{
		Listen:  netip.MustParseAddrPort("127.0.0.1:18080"),
		Backend: netip.MustParseAddrPort("127.0.0.1:18081"),
	}
	cert, err := NewCertificate()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]Setup)
	for name, change := range map[string]func(*Setup){
		"plain":  func(*Setup) {},
		"log":    func(s *Setup) { s.AccessLog = true },
		"hosts":  func(s *Setup) { s.Hosts = 50 },
		"routes": func(s *Setup) { s.Routes = 50 },
		"splice": func(s *Setup) { s.Splice = true },
		"tls":    func(s *Setup) { s.TLS = true },
		"h2":     func(s *Setup) { s.Mode = HTTP2 },
		"h2 tls": func(s *Setup) { s.Mode, s.TLS = HTTP2, true },
		"grpc":   func(s *Setup) { s.Mode = GRPC },
		"ws":     func(s *Setup) { s.Mode = WebSocket },
		"tcp":    func(s *Setup) { s.Mode = TCP },
		"udp":    func(s *Setup) { s.Mode = UDP },
	} {
		s := base
		s.Dir, s.Cert = t.TempDir(), cert
		change(&s)
		out[name] = s
	}
	return out
}

func TestWeirConfigIsAValidBootstrap(t *testing.T) {
	for name, s := range setups(t) {
		t.Run(name, func(t *testing.T) {
			text, err := weirConfig(s)
			if err != nil {
				t.Fatal(err)
			}
			var tree any
			if err := yaml.Unmarshal([]byte(text), &tree); err != nil {
				t.Fatal(err)
			}
			js, err := json.Marshal(tree)
			if err != nil {
				t.Fatal(err)
			}
			var boot bootstrapv3.Bootstrap
			if err := protojson.Unmarshal(js, &boot); err != nil {
				t.Fatal(err)
			}
			if err := boot.ValidateAll(); err != nil {
				t.Fatal(err)
			}
			listener := boot.GetStaticResources().GetListeners()[0]
			if n, err := anys(boot.ProtoReflect()); n == 0 || err != nil {
				t.Errorf("%d packed messages, %v", n, err)
			}
			if s.Mode == UDP {
				return
			}
			chain := listener.GetFilterChains()[0]
			if got := chain.GetTransportSocket() != nil; got != s.TLS {
				t.Errorf("a transport socket: %v", got)
			}
			if s.Mode == TCP {
				return
			}
			var hcm hcmv3.HttpConnectionManager
			if err := chain.GetFilters()[0].GetTypedConfig().UnmarshalTo(&hcm); err != nil {
				t.Fatal(err)
			}
			hosts := hcm.GetRouteConfig().GetVirtualHosts()
			if len(hosts) != max(s.Hosts, 1) || len(hosts[0].GetRoutes()) != max(s.Routes, 1) {
				t.Errorf("%d hosts with %d routes", len(hosts), len(hosts[0].GetRoutes()))
			}
			if got := len(hcm.GetAccessLog()); (got == 1) != s.AccessLog {
				t.Errorf("%d access logs", got)
			}
		})
	}
}

// anys validates every message that is packed into m, and those packed into them, and counts them.
func anys(m protoreflect.Message) (n int, err error) {
	err = protorange.Range(m, func(v protopath.Values) error {
		last := v.Index(-1)
		msg, ok := last.Value.Interface().(protoreflect.Message)
		if !ok || last.Step.Kind() != protopath.AnyExpandStep {
			return nil
		}
		n++
		check, ok := msg.Interface().(interface{ ValidateAll() error })
		if !ok {
			return fmt.Errorf("%s cannot be validated", msg.Descriptor().FullName())
		}
		return check.ValidateAll()
	})
	return n, err
}

func TestConfigsDoTheSameWork(t *testing.T) {
	for name, s := range setups(t) {
		for _, p := range All("weir")[1:] {
			text, err := p.config(s)
			if !carries(p, s) {
				if err == nil {
					t.Errorf("%s, %s: configured for what it cannot do", p.Name, name)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			wants := []string{s.Listen.String(), s.Backend.String()}
			if s.Mode != TCP && s.Mode != UDP {
				wants = append(wants, "X-Request-I", "X-Forwarded-Proto")
			}
			if p.Name == "caddy" {
				wants = slices.DeleteFunc(wants, func(w string) bool { return w == "X-Forwarded-Proto" }) // By default.
			}
			for _, want := range wants {
				if !strings.Contains(text, want) {
					t.Errorf("%s, %s: no %q", p.Name, name, want)
				}
			}
			if got := strings.Contains(text, "TLSv1.3"); got != s.TLS {
				t.Errorf("%s, %s: TLS: %v", p.Name, name, got)
			}
			logs := map[string]string{"nginx": s.LogFile(), "haproxy": "httplog", "caddy": s.LogFile()}[p.Name]
			if strings.Contains(text, logs) != s.AccessLog {
				t.Errorf("%s, %s: access log where none is wanted, or none", p.Name, name)
			}
		}
	}
}

// TestProgramsAcceptTheirConfig asks each program that is installed.
func TestProgramsAcceptTheirConfig(t *testing.T) {
	check := map[string][]string{"nginx": {"-t"}, "haproxy": {"-c"}, "caddy": nil}
	for _, p := range All("weir")[1:] {
		path, err := p.Path()
		if err != nil {
			t.Logf("%s is not installed", p.Name)
			continue
		}
		for name, s := range setups(t) {
			if !carries(p, s) {
				continue
			}
			if _, err := os.Stat(nginxStream); err != nil && p.Name == "nginx" && (s.Mode == TCP || s.Mode == UDP) {
				t.Logf("nginx's stream module is not installed")
				continue
			}
			cmd, err := p.Command(s)
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stdout.(*os.File).Close()
			cmd.Stderr.(*os.File).Close()
			args := append(check[p.Name], cmd.Args[1:]...)
			if p.Name == "caddy" {
				args = []string{"validate", "--config", filepath.Join(s.Dir, "caddy.json")}
			}
			run := exec.Command(path, args...)
			run.Env, run.Dir = cmd.Env, cmd.Dir
			if out, err := run.CombinedOutput(); err != nil {
				t.Errorf("%s refuses %s: %v\n%s", p.Name, name, err, out)
			}
		}
	}
}

// carries says whether a proxy is compared in that setup.
func carries(p Proxy, s Setup) bool {
	switch p.Name {
	case "caddy":
		return s.Mode == HTTP && !s.TLS
	case "haproxy":
		return s.Mode != UDP
	}
	return true
}
