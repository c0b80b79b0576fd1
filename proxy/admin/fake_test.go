// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fake is a proxy that shows what it was made with and notes what was asked of it.
type fake struct {
	mu        sync.Mutex
	flushed   int
	state     State
	store     *stats.Store
	clusters  []ClusterStatus
	listeners []ListenerStatus
	dump      []proto.Message
	endpoints *adminv3.EndpointsConfigDump
	loggers   []Logger
	calls     []string
}

func newFake() *fake {
	f := &fake{store: stats.NewStore(), loggers: []Logger{{"admin", "info"}, {"upstream", "debug"}}}
	c := f.store.Scope("cluster.web")
	c.Counter("upstream_rq_200").Add(3)
	c.Counter("upstream_cx_total")
	c.Gauge("membership_total").Set(1)
	c.Text("version_text").Set("v1")
	c.Histogram("upstream_rq_time", stats.Milliseconds).Record(12)
	return f
}

func (f *fake) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

func (f *fake) Info() Info {
	return Info{
		Version: "abc/1.0/Clean/RELEASE/Go", HotRestartVersion: "disabled", Started: time.Now().Add(-90 * time.Second),
		Options: &adminv3.CommandLineOptions{Concurrency: 2, ConfigYaml: "key: " + secret, DrainStrategy: adminv3.CommandLineOptions_Gradual},
		Node:    &corev3.Node{Id: "n1"},
	}
}
func (f *fake) State() State                            { return f.state }
func (f *fake) Stats() *stats.Store                     { return f.store }
func (f *fake) Clusters() []ClusterStatus               { return f.clusters }
func (f *fake) Listeners() []ListenerStatus             { return f.listeners }
func (f *fake) ConfigDump() []proto.Message             { return f.dump }
func (f *fake) Endpoints() *adminv3.EndpointsConfigDump { return f.endpoints }
func (f *fake) Certs() []Certs {
	return []Certs{{Chain: []Cert{{Path: "/c.pem", X509: &x509.Certificate{
		SerialNumber: big.NewInt(0xabc), DNSNames: []string{"a.example"}, IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)},
		URIs:      []*url.URL{{Scheme: "spiffe", Host: "x"}},
		NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(10*24*time.Hour + time.Hour),
	}}}}}
}
func (f *fake) Runtime() []RuntimeLayer {
	return []RuntimeLayer{{"base", map[string]string{"a": "1", "b": "2"}}, {"admin", map[string]string{"a": "3"}}}
}
func (f *fake) Loggers() []Logger              { return f.loggers }
func (f *fake) Unready() []Unready             { return []Unready{{"listener_0", []string{"RDS"}}} }
func (f *fake) FailHealthcheck(b bool)         { f.note("fail %v", b) }
func (f *fake) DrainListeners(o DrainOptions)  { f.note("drain %+v", o) }
func (f *fake) Quit()                          { f.note("quit") }
func (f *fake) FlushStats()                    { f.flushed++ }
func (f *fake) ReopenLogs()                    { f.note("reopen") }
func (f *fake) SetLogLevel(name, level string) { f.note("level %q %s", name, level) }
func (f *fake) SetRuntime(v map[string]string) error {
	if v["bad"] != "" {
		return errors.New("no admin layer is configured")
	}
	f.note("runtime %v", v)
	return nil
}

// ask sends a request straight to the handler.
func ask(t *testing.T, f *fake, method, target, body string) (int, string, http.Header) {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := httptest.NewRecorder()
	New(Config{ProfilePath: t.TempDir() + "/prof"}, f).ServeHTTP(w, r)
	return w.Code, w.Body.String(), w.Header()
}

func get(t *testing.T, f *fake, target string) string {
	t.Helper()
	code, body, _ := ask(t, f, http.MethodGet, target, "")
	if code != http.StatusOK {
		t.Fatalf("GET %s: %d %s", target, code, body)
	}
	return body
}

// dial sends a request over a connection of its own, with a Host and headers of choice.
func dial(t *testing.T, a *Admin, method, path, host string, header http.Header) (int, string) {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+a.Addr().String()+path, bytes.NewReader(nil))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	for k, v := range header {
		r.Header[k] = v
	}
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

// newRequest is a GET with the given parameters, which may be any bytes.
func newRequest(path string, params map[string]string) *http.Request {
	q := url.Values{}
	for k, v := range params {
		q.Set(k, v)
	}
	return httptest.NewRequest(http.MethodGet, path+"?"+q.Encode(), nil)
}
