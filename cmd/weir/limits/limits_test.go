// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	commonratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"weir.dev/weir/control/limiter"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/test/redistest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestEnvironment(t *testing.T) {
	tests := []struct {
		env  map[string]string
		want string
	}{
		{nil, ":8081 :8080 [] single  weir| 0.8"},
		{map[string]string{
			"REDIS_TYPE": "CLUSTER", "REDIS_URL": "a:1,b:2", "RUNTIME_ROOT": "/data", "RUNTIME_SUBDIRECTORY": "ratelimit", "GRPC_PORT": "9", "HOST": "::1",
			"CACHE_KEY_PREFIX": "x:", "NEAR_LIMIT_RATIO": "0.5", "LIMIT_RESPONSE_HEADERS_ENABLED": "true", "LIMIT_RESET_HEADER": "x-reset",
		}, ":9 [::1]:8080 [/data/ratelimit/config] CLUSTER a:1,b:2 x: 0.5 RateLimit-Limit x-reset"},
		{map[string]string{"BACKEND_TYPE": "memcache"}, `$BACKEND_TYPE "memcache": is not supported: use redis`},
		{map[string]string{"CONFIG_TYPE": "GRPC_XDS_SOTW"}, `$CONFIG_TYPE "GRPC_XDS_SOTW": is not supported: use FILE, and give the files`},
		{map[string]string{"SHADOW_MODE": "perhaps"}, `$SHADOW_MODE "perhaps": strconv.ParseBool: parsing "perhaps": invalid syntax`},
	}
	for _, tt := range tests {
		c, err := Environment(func(name string) string { return tt.env[name] })
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprintf("%s %s %v %s %s %s %v %s %s", c.Serve.GRPC, c.Serve.HTTP, c.Paths, c.Redis.Type, c.Redis.URL, c.Prefix, c.Near, c.Serve.RLS.LimitHeader, c.Serve.RLS.ResetHeader)
		}
		if strings.TrimSpace(got) != tt.want {
			t.Errorf("%v:\n     %s\nwant %s", tt.env, got, tt.want)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	// Moved into its place, as whoever reads it may look at any time.
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

const limitOf = "domain: web\ndescriptors: [{key: user, rate_limit: {unit: hour, requests_per_unit: %d}}]"

// serve runs a server until the test ends.
func serve(t *testing.T, o Options) (*Limits, *Server) {
	t.Helper()
	l, err := Open(o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Listen(l, ServeOptions{GRPC: "127.0.0.1:0", HTTP: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		l.Close()
	})
	return l, s
}

// ask asks a server by gRPC.
func ask(t *testing.T, s *Server) func(user string) string {
	t.Helper()
	conn, err := grpc.NewClient(s.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	h, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{Service: "envoy.service.ratelimit.v3.RateLimitService"}, grpc.WaitForReady(true))
	if err != nil || h.Status != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", h, err)
	}
	return func(user string) string {
		m, err := ratelimitv3.NewRateLimitServiceClient(conn).ShouldRateLimit(t.Context(), &ratelimitv3.RateLimitRequest{
			Domain: "web", Descriptors: []*commonratelimitv3.RateLimitDescriptor{{Entries: []*commonratelimitv3.RateLimitDescriptor_Entry{{Key: "user", Value: user}}}},
		})
		if err != nil {
			return err.Error()
		}
		return m.GetOverallCode().String()
	}
}

func TestServe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.yaml")
	write(t, path, fmt.Sprintf(limitOf, 2))
	o := Default()
	o.Paths = []string{path}
	l, s := serve(t, o)
	question := ask(t, s)
	for i, want := range []string{"OK", "OK", "OVER_LIMIT"} {
		if got := question("ann"); got != want {
			t.Errorf("%d: %s, want %s", i, got, want)
		}
	}
	get := func(method, path, body string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.HTTPAddr()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(text)
	}
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/healthz", "", 200, "OK"},
		{"GET", "/stats", "", 200, "ratelimit.service.rate_limit.web.user.over_limit: 1\n"},
		{"GET", "/metrics", "", 200, `ratelimit_service_rate_limit_over_limit{limit="web.user"} 1` + "\n"},
		{"GET", "/rlconfig", "", 200, "HOUR"},
		{"POST", "/json", `{"domain":"web","descriptors":[{"entries":[{"key":"user","value":"bob"}]}]}`, 200, `"OK"`},
		{"POST", "/json", `{"domain":"web","descriptors":[{"entries":[{"key":"user","value":"ann"}]}]}`, 429, `"OVER_LIMIT"`},
		{"POST", "/json", `{"domain":""}`, 400, "rate limit domain must not be empty"},
		{"POST", "/json", `{`, 400, ""},
		{"POST", "/json", strings.Repeat(" ", maxMessage+1), 400, "too large"},
	} {
		if status, text := get(tt.method, tt.path, tt.body); status != tt.status || !strings.Contains(text, tt.want) {
			t.Errorf("%s %s: %d %s, want %d with %s", tt.method, tt.path, status, text, tt.status, tt.want)
		}
	}
	// Another limit is taken; a broken file is not.
	write(t, path, "domain: web\ndescriptors: [{kye: user}]")
	time.AfterFunc(0, func() { write(t, path, fmt.Sprintf(limitOf, 4_000_000_000)) })
	for question("ann") != "OK" {
		if t.Context().Err() != nil {
			t.Fatal("the new limit is not taken")
		}
	}
	if err := l.Set("objects", []limiter.Domain{{Name: "web"}}); err == nil {
		t.Error("a domain of two sources is taken")
	}
	if err := l.Set("objects", []limiter.Domain{{Name: "other"}}); err != nil || len(l.Domains()) != 2 {
		t.Errorf("domains of another source: %v", err)
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml")
	write(t, good, fmt.Sprintf(limitOf, 2))
	write(t, bad, "domain: d\nx: 1")
	for want, change := range map[string]func(*Options){
		"rate limits: " + bad + ":2: unknown field \"x\"":                     func(o *Options) { o.Paths = []string{bad} },
		"rate limits: read objects: stat /nowhere: no such file or directory": func(o *Options) { o.Paths = []string{"/nowhere"} },
		"--redis: redis \"nowhere\": want host:port":                          func(o *Options) { o.Redis.URL = "nowhere" },
		"--redis-ca and others are given, and no TLS: give --redis-tls":       func(o *Options) { o.Redis.URL, o.Redis.CA = "a:1", "x" },
		"--redis-certificate and --redis-key go together":                     func(o *Options) { o.Redis.URL, o.Redis.TLS, o.Redis.Key = "a:1", true, "x" },
		"--redis-timeout 0s: want more than 0":                                func(o *Options) { o.Redis.URL, o.Redis.Timeout = "a:1", 0 },
		"--redis-auth-file: open /nowhere: no such file or directory":         func(o *Options) { o.Redis.URL, o.Redis.AuthFile = "a:1", "/nowhere" },
		"--redis-ca: " + good + " holds no certificate in PEM":                func(o *Options) { o.Redis.URL, o.Redis.TLS, o.Redis.CA = "a:1", true, good },
	} {
		o := Default()
		o.Paths = []string{good}
		change(&o)
		l, err := Open(o, slog.New(slog.DiscardHandler))
		if err == nil {
			l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestRedisGone: while Redis is gone the service says so at once, and counts again when
// it is back.
func TestRedisGone(t *testing.T) {
	r := redistest.Start(t)
	path := filepath.Join(t.TempDir(), "web.yaml")
	write(t, path, fmt.Sprintf(limitOf, 2))
	o := Default()
	// As long as that Redis may take: nobody is to wait for one that is gone.
	o.Paths, o.Redis.URL, o.Redis.Timeout = []string{path}, r.Address, 20*time.Second
	_, s := serve(t, o)
	question := ask(t, s)
	if got := question("ann"); got != "OK" {
		t.Fatal(got)
	}
	r.Kill()
	gone := question("ann")
	start := time.Now()
	for range 100 {
		gone = question("ann")
	}
	if d := time.Since(start); d > o.Redis.Timeout || !strings.Contains(gone, "Unavailable") {
		t.Errorf("without Redis 100 questions took %s: %s", d, gone)
	}
	r.Restart()
	for got := gone; got != "OVER_LIMIT"; got = question("ann") {
		if t.Context().Err() != nil {
			t.Fatal(got)
		}
	}
}
