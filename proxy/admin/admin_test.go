// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAnswers(t *testing.T) {
	tests := []struct {
		method, target, body string
		code                 int
		want                 string // the whole answer, or with a leading ~ a part of it
		calls                []string
	}{
		{"GET", "/ready", "", 200, "LIVE\n", nil},
		{"HEAD", "/ready", "", 200, "LIVE\n", nil},
		{"GET", "/nothing", "", 404, "~invalid path. admin commands are:\n", nil},
		{"GET", "/stats/", "", 404, "~invalid path. ", nil},
		{"GET", "/help", "", 200, "~  /quitquitquit (POST): exit the server\n", nil},
		{"GET", "/help", "", 200, "~      format: File format to use; One of (text, json)\n", nil},
		{"GET", "/", "", 200, `~<form action="healthcheck/fail" method="post"><button>healthcheck/fail</button></form>`, nil},
		{"GET", "/", "", 200, `~<a href="stats/prometheus">stats/prometheus</a>`, nil},
		{"DELETE", "/ready", "", 405, "Method DELETE not allowed.", nil},
		{"GET", "/quitquitquit", "", 405, "Method GET not allowed, POST required.", nil},
		{"POST", "/quitquitquit", "", 200, "OK\n", []string{"quit"}},
		{"POST", "/healthcheck/fail", "", 200, "OK\n", []string{"fail true"}},
		{"POST", "/healthcheck/ok", "", 200, "OK\n", []string{"fail false"}},
		{"POST", "/reopen_logs", "", 200, "OK\n", []string{"reopen"}},
		{"POST", "/drain_listeners?graceful&inboundonly", "", 200, "OK\n", []string{"drain {Graceful:true SkipExit:false InboundOnly:true}"}},
		{"POST", "/drain_listeners?graceful&skip_exit", "", 200, "OK\n", []string{"drain {Graceful:true SkipExit:true InboundOnly:false}"}},
		{"POST", "/drain_listeners?skip_exit", "", 400, "skip_exit requires graceful\n", nil},
		{"GET", "/hot_restart_version", "", 200, "disabled", nil},
		{"POST", "/tap", "", 501, "~tapping is not supported", nil},
		{"GET", "/contention", "", 200, "~/debug/pprof/mutex", nil},
		{"GET", "/stats/recentlookups", "", 200, "~Lookups are not kept", nil},
		{"POST", "/stats/recentlookups/enable", "", 501, "~not kept", nil},

		{"GET", "/logging", "", 200, "active loggers:\n  admin: info\n  upstream: debug\n\n", nil},
		{"GET", "/logging?level=debug", "", 405, "Method GET not allowed, POST required.", nil},
		{"POST", "/logging?level=debug", "", 200, "~active loggers", []string{`level "" debug`}},
		{"POST", "/logging?level=&paths=", "", 200, "~active loggers", nil},
		{"POST", "/logging?admin=warn", "", 200, "~active loggers", []string{`level "admin" warning`}},
		{"POST", "/logging?paths=admin:trace,upstream:off", "", 200, "~active", []string{`level "admin" trace`, `level "upstream" off`}},
		{"POST", "/logging?paths=admin:trace,nobody:off", "", 400, "~error: unknown logger name\n\nusage: /logging?<name>=<level>", nil},
		{"POST", "/logging?paths=admin", "", 400, "~error: empty logger name or empty logger level", nil},
		{"POST", "/logging?level=loud", "", 400, "~error: unknown logger level", nil},
		{"POST", "/logging?level=info&admin=info", "", 400, "~error: invalid number of parameters", nil},

		{"GET", "/runtime", "", 200, `{
 "entries": {
  "a": {
   "final_value": "3",
   "layer_values": [
    "1",
    "3"
   ]
  },
  "b": {
   "final_value": "2",
   "layer_values": [
    "2",
    ""
   ]
  }
 },
 "layers": [
  "base",
  "admin"
 ]
}
`, nil},
		{"POST", "/runtime_modify?x=1", "", 200, "OK\n", []string{"runtime map[x:1]"}},
		{"POST", "/runtime_modify", "x=2&y=", 200, "OK\n", []string{"runtime map[x:2 y:]"}},
		{"POST", "/runtime_modify", "", 400, "~usage: /runtime_modify?key1=value1", nil},
		{"POST", "/runtime_modify?bad=1", "", 503, "no admin layer is configured\n", nil},
		{"POST", "/runtime_modify", "x=" + strings.Repeat("y", maxBody), 400, "~read form", nil},

		{"POST", "/cpuprofiler?enable=maybe", "", 400, "?enable=<y|n>\n", nil},
		{"POST", "/cpuprofiler?enable=n", "", 200, "OK\n", nil},
		{"POST", "/heapprofiler?enable=n", "", 400, "Fail to stop heap profiler: not started", nil},
		{"GET", "/cpuprofiler?enable=y", "", 405, "~POST required", nil},
		{"GET", "/debug/pprof/", "", 200, "~goroutine", nil},
		{"GET", "/debug/pprof/cmdline", "", 200, "~admin.test", nil},
		{"GET", "/init_dump?mask=cluster", "", 400, "~use mask=listener", nil},
		{"GET", "/init_dump", "", 200, "~\"target_names\": [\n    \"RDS\"\n   ]", nil},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.target, func(t *testing.T) {
			f := newFake()
			code, body, header := ask(t, f, tt.method, tt.target, tt.body)
			if code != tt.code {
				t.Errorf("status %d, want %d", code, tt.code)
			}
			if part, ok := strings.CutPrefix(tt.want, "~"); ok && !strings.Contains(body, part) || !ok && body != tt.want {
				t.Errorf("answer %q, want %q", body, tt.want)
			}
			if d := cmp.Diff(tt.calls, f.calls); d != "" {
				t.Errorf("calls (-want +got)\n%s", d)
			}
			if header.Get("X-Content-Type-Options") != "nosniff" {
				t.Error("no nosniff")
			}
		})
	}
}

func TestReadyStates(t *testing.T) {
	for state, want := range map[State]string{
		Draining: "DRAINING\n", PreInitializing: "PRE_INITIALIZING\n", Initializing: "INITIALIZING\n",
	} {
		f := newFake()
		f.state = state
		if code, body, _ := ask(t, f, "GET", "/ready", ""); code != 503 || body != want {
			t.Errorf("%d %q, want 503 %q", code, body, want)
		}
	}
}

func TestStats(t *testing.T) {
	tests := []struct {
		target string
		code   int
		kind   string
		want   string
	}{
		{"/stats?usedonly&filter=upstream_rq_200", 200, "text/plain; charset=UTF-8", "cluster.web.upstream_rq_200: 3\n"},
		{"/stats?type=Gauges", 200, "text/plain; charset=UTF-8", "cluster.web.membership_total: 1\n"},
		{"/stats?type=All&filter=version", 200, "text/plain; charset=UTF-8", "cluster.web.version_text: \"v1\"\n"},
		{"/stats?format=json&filter=_200", 200, "application/json", `{"stats":[{"name":"cluster.web.upstream_rq_200","value":3}]}`},
		{"/stats?format=prometheus&filter=_200", 200, prometheusType, "# TYPE envoy_cluster_upstream_rq counter\nenvoy_cluster_upstream_rq{envoy_response_code=\"200\",envoy_cluster_name=\"web\"} 3\n"},
		{"/stats/prometheus?filter=version&text_readouts", 200, prometheusType, "# TYPE envoy_cluster_version_text gauge\nenvoy_cluster_version_text{envoy_cluster_name=\"web\",text_value=\"v1\"} 0\n"},
		{"/stats/prometheus?histogram_buckets=detailed", 400, "text/plain; charset=UTF-8", "unsupported prometheus histogram bucket mode; use cumulative or summary\n"},
		{"/stats?filter=(", 400, "text/plain; charset=UTF-8", "Invalid re2 regex"},
		{"/stats?type=Bananas", 400, "text/plain; charset=UTF-8", "invalid &type= param"},
		{"/stats?format=xml", 400, "text/plain; charset=UTF-8", "usage: /stats?format=(json|prometheus|text)\n\n"},
		{"/stats?format=html", 400, "text/plain; charset=UTF-8", "HTML output is not built in; use format=text, json or prometheus\n"},
		{"/stats?histogram_buckets=x", 400, "text/plain; charset=UTF-8", "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary)\n"},
	}
	for _, tt := range tests {
		t.Run(tt.target, func(t *testing.T) {
			code, body, header := ask(t, newFake(), "GET", tt.target, "")
			got := []any{code, header.Get("Content-Type"), body}
			if d := cmp.Diff([]any{tt.code, tt.kind, tt.want}, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
	f := newFake()
	if _, body, _ := ask(t, f, "POST", "/reset_counters", ""); body != "OK\n" {
		t.Errorf("reset answers %q", body)
	}
	if f.flushed != 0 {
		t.Error("a reset is taken for a question")
	}
	if got := get(t, f, "/stats?filter=_200"); got != "cluster.web.upstream_rq_200: 0\n" {
		t.Errorf("after reset %q", got)
	}
	get(t, f, "/stats/prometheus")
	get(t, f, "/stats?format=prometheus")
	if f.flushed != 3 {
		t.Errorf("sinks were flushed %d times, want 3", f.flushed)
	}
}

func TestProfiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "prof")
	a := New(Config{ProfilePath: path}, newFake())
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	post := func(target string, want int) {
		t.Helper()
		if code, body := dial(t, a, "POST", target, "localhost", nil); code != want {
			t.Errorf("%s: %d %s", target, code, body)
		}
	}
	post("/heapprofiler?enable=y", 200)
	post("/heapprofiler?enable=y", 400)
	post("/heapprofiler?enable=n", 200)
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		t.Errorf("heap profile: %v", err)
	}
	post("/cpuprofiler?enable=y", 200)
	post("/cpuprofiler?enable=y", 200)
	post("/cpuprofiler?enable=n", 200)
	post("/cpuprofiler?enable=y", 200)
	if err := a.Close(); err != nil { // stops the running one
		t.Error(err)
	}
	b := New(Config{ProfilePath: "/nonexistent/x"}, newFake())
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	if code, body := dial(t, b, "POST", "/cpuprofiler?enable=y", "localhost", nil); code != 500 || !strings.Contains(body, "failure to start the profiler") {
		t.Errorf("%d %s", code, body)
	}
}

func TestGuards(t *testing.T) {
	a := New(Config{AllowHosts: []string{"admin.example"}}, newFake())
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	origin := func(o string) http.Header { return http.Header{"Origin": {o}} }
	tests := []struct {
		name, method, path, host string
		header                   http.Header
		want                     int
	}{
		{"address", "GET", "/ready", "127.0.0.1:9901", nil, 200},
		{"v6 address", "GET", "/ready", "[::1]:9901", nil, 200},
		{"localhost", "GET", "/ready", "LOCALHOST:1", nil, 200},
		{"allowed", "GET", "/ready", "admin.example:1", nil, 200},
		{"rebound", "GET", "/config_dump", "evil.example", nil, 403},
		{"looks like localhost", "GET", "/ready", "localhost.evil.example", nil, 403},
		{"own page", "POST", "/healthcheck/ok", "127.0.0.1:9901", origin("http://127.0.0.1:9901"), 200},
		{"foreign page", "POST", "/quitquitquit", "127.0.0.1:9901", origin("http://evil.example"), 403},
		{"foreign fetch", "POST", "/quitquitquit", "127.0.0.1:9901", http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if code, body := dial(t, a, tt.method, tt.path, tt.host, tt.header); code != tt.want {
				t.Errorf("%d %s, want %d", code, body, tt.want)
			}
		})
	}
}

func TestAllowPaths(t *testing.T) {
	a := New(Config{AllowPaths: []func(string) bool{func(p string) bool { return p == "/ready" }}}, newFake())
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	for path, want := range map[string]int{"/ready": 200, "/stats": 403, "/debug/pprof/heap": 403, "/none": 403} {
		if code, body := dial(t, a, "GET", path, "localhost", nil); code != want {
			t.Errorf("%s: %d %s, want %d", path, code, body, want)
		}
	}
}

func TestStartAndClose(t *testing.T) {
	logFile := filepath.Join(t.TempDir(), "access.log")
	a := New(Config{AccessLogs: []string{logFile}}, newFake())
	if a.Addr() != nil || a.Close() != nil {
		t.Error("something there before Start")
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err == nil {
		t.Error("started twice")
	}
	if ip := a.Addr().(*net.TCPAddr).IP; !ip.IsLoopback() {
		t.Errorf("default address is %v", ip)
	}
	dial(t, a, "GET", "/ready?x=\"", "localhost", http.Header{"User-Agent": {"me \"x\""}})
	if err := os.Rename(logFile, logFile+".1"); err != nil {
		t.Fatal(err)
	}
	if err := a.ReopenLogs(); err != nil {
		t.Fatal(err)
	}
	dial(t, a, "GET", "/nothing", "localhost", nil)
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	for file, want := range map[string]string{
		logFile + ".1": `^\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\] "GET /ready\?x=%22 HTTP/1\.1" 200 - 0 5 \d+ - "-" "me \\"x\\"" "-" "localhost" "-"\n$`,
		logFile:        `^\[[^]]+\] "GET /nothing HTTP/1\.1" 404 - .*\n$`,
	} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want = strings.Replace(want, "%22", `(%22|\\")`, 1)
		if !regexp.MustCompile(want).Match(b) {
			t.Errorf("%s holds %q", file, b)
		}
	}
	for name, c := range map[string]Config{
		"address": {Network: "tcp", Address: "203.0.113.1:1"},
		"log":     {AccessLogs: []string{"/nonexistent/x"}},
	} {
		if err := New(c, newFake()).Start(t.Context()); err == nil {
			t.Errorf("%s: started", name)
		}
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	_ = stale.Close()
	a := New(Config{Network: "unix", Address: path, SocketMode: 0o600}, newFake())
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := New(Config{Network: "unix", Address: path}, newFake()).Start(t.Context()); err == nil {
		t.Error("took a socket in use")
	}
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	resp, err := (&http.Client{Transport: tr}).Get("http://any.example/ready")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

func TestHelpNamesAllEndpointsOnce(t *testing.T) {
	a := New(Config{}, newFake())
	var paths []string
	for _, e := range a.endpoints {
		if e.help == "" {
			t.Errorf("%s has no help", e.path)
		}
		paths = append(paths, e.path)
	}
	if n := len(slices.Compact(slices.Clone(paths))); n != len(paths) {
		t.Errorf("%d paths, %d different", len(paths), n)
	}
}
