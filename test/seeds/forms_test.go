// SPDX-License-Identifier: Apache-2.0

package seeds

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/proxy/tls/tlstest"
)

// told serves what it was asked.
func told(t *testing.T, name string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s %s xfcc=%v calls=%s", name, q.Method, q.URL.Path, q.Header.Get("x-forwarded-client-cert") != "", q.Header.Get("x-calls"))
	}))
	t.Cleanup(s.Close)
	return s
}

// TestDoubleProxy runs two proxies that know each other by certificates and speak HTTP/2 between them, in the
// forms of v1 and of v2, which understand each other.
func TestDoubleProxy(t *testing.T) {
	ca, dir := tlstest.NewCA(t, "ca"), t.TempDir()
	paths := []string{"/etc/envoy/ca.crt", filepath.Join(dir, "ca.crt")}
	for name, leaf := range map[string]tlstest.Leaf{
		"front": {DNS: []string{"www.example"}}, "client": {DNS: []string{"front.example"}}, "back": {DNS: []string{"back.example"}},
	} {
		cert, key := ca.Issue(t, leaf).Write(t, dir, name)
		paths = append(paths, "/etc/envoy/"+name+".crt", cert, "/etc/envoy/"+name+".key", key)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), []byte(ca.CertPEM), 0o600); err != nil {
		t.Fatal(err)
	}
	file := func(name string, replace ...string) string {
		text := strings.NewReplacer(paths...).Replace(seed(t, name))
		for i := 0; i < len(replace); i += 2 {
			if !strings.Contains(text, replace[i]) {
				t.Fatalf("%s has no %q", name, replace[i])
			}
			text = strings.ReplaceAll(text, replace[i], replace[i+1])
		}
		return text
	}
	one, two := addr(told(t, "one")), addr(told(t, "two"))
	const zero = "127.0.0.1:0"
	backs := map[string]string{
		"v1": file("v1-double-back.json", "0.0.0.0:9400", zero, "127.0.0.1:9902", zero, "127.0.0.1:9001", one, "127.0.0.1:9002", two),
		"v2": file("v2-double-back.yaml", "{address: 0.0.0.0, port_value: 9400}", "{address: 127.0.0.1, port_value: 0}", "port_value: 9902", "port_value: 0",
			"port_value: 9001", "port_value: "+portOf(one), "port_value: 9002", "port_value: "+portOf(two)),
	}
	options := proxytest.Options{Extensions: all.Extensions()}
	for backName, text := range backs {
		back := proxytest.Start(t, text, options)
		fronts := map[string]string{
			"v1": file("v1-double-front.json", "0.0.0.0:443", zero, "127.0.0.1:9901", zero, "/var/log/envoy/access.log", "{{log}}", "back.example:9400", back.Addr()),
			"v2": file("v2-double-front.yaml", "{address: 0.0.0.0, port_value: 443}", "{address: 127.0.0.1, port_value: 0}", "port_value: 9901", "port_value: 0",
				"/var/log/envoy/access.log", "{{log}}", "{address: back.example, port_value: 9400}", "{address: 127.0.0.1, port_value: "+portOf(back.Addr())+"}"),
		}
		for frontName, text := range fronts {
			t.Run(frontName+" before "+backName, func(t *testing.T) {
				p := proxytest.Start(t, text, options)
				client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: "www.example"}, ForceAttemptHTTP2: true}}
				defer client.CloseIdleConnections()
				for path, want := range map[string]string{
					"/healthcheck": "200 ", "/a": "200 one GET /a xfcc=true calls=", "/service/2/b": "200 two GET //b xfcc=true calls=",
				} {
					r, err := client.Get("https://" + p.Addr() + path)
					if err != nil {
						t.Fatal(err)
					}
					body, err := io.ReadAll(r.Body)
					_ = r.Body.Close()
					if got := fmt.Sprintf("%d %s", r.StatusCode, body); err != nil || got != want || r.ProtoMajor != 2 {
						t.Errorf("%s: %q over %s, %v; want %q", path, got, r.Proto, err, want)
					}
				}
				if n := p.Counter("cluster.backhaul.http2.streams_active") + p.Counter("cluster.backhaul.upstream_cx_http2_total"); n == 0 {
					t.Error("the proxies do not speak HTTP/2")
				}
				if lines := p.LogLines(2); strings.Join(lines, " ") != "GET 200 GET 200" {
					t.Errorf("access log %q", lines)
				}
			})
		}
	}
}

func portOf(a string) string { return a[strings.LastIndexByte(a, ':')+1:] }

// TestServiceToService runs a proxy beside a service, for what comes in and for what the service calls.
func TestServiceToService(t *testing.T) {
	local, other := told(t, "local"), told(t, "other")
	discovery := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path != "/v1/registration/other" {
			_, _ = io.WriteString(w, `{"hosts": []}`)
			return
		}
		_, _ = fmt.Fprintf(w, `{"hosts": [{"ip_address": "127.0.0.1", "port": %s, "tags": {"az": "a"}}]}`, portOf(addr(other)))
	}))
	t.Cleanup(discovery.Close)
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "envoy", "routing"), 0o700); err != nil {
		t.Fatal(err)
	}
	const zero = "127.0.0.1:0"
	p := proxytest.Start(t, seed(t, "v1-service-to-service.json",
		"127.0.0.1:9211", zero, "127.0.0.1:9001", zero, "127.0.0.1:9901", zero, "127.0.0.1:8080", addr(local), "127.0.0.1:8083", addr(discovery),
		"/var/log/envoy/ingress.log", "{{log}}", "/srv/runtime_data/current", root,
	), proxytest.Options{Extensions: all.Extensions()})
	ingress, egress := p.Listeners()[0], p.Listeners()[1]
	ask := func(address, host, path string) string {
		t.Helper()
		c := proxytest.Dial(t, address)
		defer c.Close()
		r := c.Do("GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
		return fmt.Sprintf("%d %s", r.StatusCode, r.Content)
	}
	for _, tt := range []struct{ name, address, host, path, want string }{
		{"what comes in", ingress, "a", "/users/7", "200 local GET /users/7 xfcc=false calls="},
		{"a health check that passes through", ingress, "a", "/healthcheck", "200 local GET /healthcheck xfcc=false calls="},
		{"what the service calls", egress, "other", "/x", "200 other GET /x xfcc=false calls=other"},
		{"what it has no route to", egress, "nobody", "/x", "404 "},
	} {
		if got := ask(tt.address, tt.host, tt.path); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
