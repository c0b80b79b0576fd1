// SPDX-License-Identifier: Apache-2.0

package extproc_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/proxytest"
)

func TestMain(m *testing.M) { leak.Main(m) }

// talk is one stream of a processor.
type talk = extprocv3.ExternalProcessor_ProcessServer

// processor is a real service of Envoy's protocol.
type processor struct {
	extprocv3.UnimplementedExternalProcessorServer
	serve func(talk) error

	mu    sync.Mutex
	got   []*extprocv3.ProcessingRequest
	ended []error // what its streams ended with
}

// Process implements the service.
func (p *processor) Process(s talk) error {
	err := p.serve(&noting{s, p})
	p.mu.Lock()
	p.ended = append(p.ended, err)
	p.mu.Unlock()
	return err
}

// noting notes what is received.
type noting struct {
	talk
	p *processor
}

// Recv implements the stream.
func (n *noting) Recv() (*extprocv3.ProcessingRequest, error) {
	q, err := n.talk.Recv()
	if err == nil {
		n.p.mu.Lock()
		n.p.got = append(n.p.got, q)
		n.p.mu.Unlock()
	}
	return q, err
}

func (p *processor) requests() []*extprocv3.ProcessingRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*extprocv3.ProcessingRequest(nil), p.got...)
}

// ends returns what the processor's streams ended with.
func (p *processor) ends() []error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]error(nil), p.ended...)
}

// listen serves the processor and returns its address.
func (p *processor) listen(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(64 << 20))
	extprocv3.RegisterExternalProcessorServer(s, p)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(ln)
	}()
	t.Cleanup(func() { s.Stop(); <-done })
	return ln.Addr().String()
}

// each answers every message by what f makes of it; nil is no answer.
func each(f func(q *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse) func(talk) error {
	return func(s talk) error {
		for {
			q, err := s.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			a := f(q)
			if a == nil {
				continue
			}
			if err := s.Send(a); err != nil {
				return err
			}
		}
	}
}

// agree answers a message without changing anything.
func agree(q *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
	switch q.GetRequest().(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		return onRequest(&extprocv3.CommonResponse{})
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		return onResponse(&extprocv3.CommonResponse{})
	case *extprocv3.ProcessingRequest_RequestBody:
		return onRequestBody(&extprocv3.CommonResponse{})
	case *extprocv3.ProcessingRequest_ResponseBody:
		return onResponseBody(&extprocv3.CommonResponse{})
	case *extprocv3.ProcessingRequest_RequestTrailers:
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestTrailers{RequestTrailers: &extprocv3.TrailersResponse{}}}
	}
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{}}}
}

func onRequest(c *extprocv3.CommonResponse) *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{Response: c}}}
}

func onResponse(c *extprocv3.CommonResponse) *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{Response: c}}}
}

func onRequestBody(c *extprocv3.CommonResponse) *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{Response: c}}}
}

func onResponseBody(c *extprocv3.CommonResponse) *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{Response: c}}}
}

func set(pairs ...string) *extprocv3.HeaderMutation {
	m := &extprocv3.HeaderMutation{}
	for i := 0; i < len(pairs); i += 2 {
		m.SetHeaders = append(m.SetHeaders, &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	return m
}

func replace(body string) *extprocv3.BodyMutation {
	return &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_Body{Body: []byte(body)}}
}

func piece(body string, end bool) *extprocv3.BodyMutation {
	return &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_StreamedResponse{
		StreamedResponse: &extprocv3.StreamedBodyResponse{Body: []byte(body), EndOfStream: end},
	}}
}

// seen is a request as the upstream got it.
type seen struct {
	method, host, path, body string
	header, trailer          http.Header
	length                   int64
	err                      error
}

// upstream echoes bodies, with trailers if it is asked to.
type upstream struct {
	addr string
	mu   sync.Mutex
	got  []seen
}

func (u *upstream) last(t testing.TB) seen {
	t.Helper()
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.got) == 0 {
		t.Fatal("the upstream got no request")
	}
	return u.got[len(u.got)-1]
}

func (u *upstream) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.got)
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Duplex") != "" {
		_ = http.NewResponseController(w).EnableFullDuplex()
	}
	b, err := io.ReadAll(r.Body)
	u.mu.Lock()
	u.got = append(u.got, seen{r.Method, r.Host, r.RequestURI, string(b), r.Header, r.Trailer, r.ContentLength, err})
	n := len(u.got)
	u.mu.Unlock()
	if r.Header.Get("X-Fail-Once") != "" && n == 1 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("X-Up", "1")
	if r.Header.Get("X-Trailers") != "" {
		w.Header().Set("Trailer", "X-Sum")
	}
	_, _ = w.Write(b)
	if r.Header.Get("X-Trailers") != "" {
		w.Header().Set("X-Sum", "1")
	}
}

func newUpstream(t testing.TB) *upstream {
	t.Helper()
	u := &upstream{}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u.addr = ln.Addr().String()
	s := &http.Server{Handler: u, Protocols: both()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(ln)
	}()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return u
}

func both() *http.Protocols {
	p := &http.Protocols{}
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

const kind = "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor"

// config is a proxy whose filter has the fields.
type config struct {
	fields     string
	upstreamH2 bool
	cluster    string // fields of the processor's cluster
	edge       proxytest.Edge
}

func (c config) yaml() string {
	e := c.edge
	e.Filters = `- {name: proc, typed_config: {"@type": ` + kind + `, grpc_service: {envoy_grpc: {cluster_name: proc}}, ` + c.fields + `}}` + "\n" + e.Filters
	e.Clusters += "\n- {name: proc, connect_timeout: 1s, http2_protocol_options: {}, " + c.cluster + " load_assignment: {cluster_name: proc, endpoints: [{lb_endpoints: [{endpoint: {address: {{proc}}}}]}]}}"
	e.Manager += "\nhttp_protocol_options: {enable_trailers: true}"
	if c.upstreamH2 {
		e.Cluster += "\nhttp2_protocol_options: {}"
	} else {
		e.Cluster += "\nhttp_protocol_options: {enable_trailers: true}"
	}
	return e.YAML()
}

func start(t testing.TB, c config, proc string) (*proxytest.Proxy, *upstream) {
	t.Helper()
	up := newUpstream(t)
	return startAt(t, c, proc, up.addr), up
}

// startAt is start with another upstream.
func startAt(t testing.TB, c config, proc, up string) *proxytest.Proxy {
	t.Helper()
	return proxytest.Start(t, c.yaml(), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up, "proc": proc}})
}

// client speaks one version of HTTP to the proxy.
func client(t testing.TB, h2 bool) *http.Client {
	t.Helper()
	p := &http.Protocols{}
	p.SetHTTP1(!h2)
	p.SetUnencryptedHTTP2(h2)
	tr := &http.Transport{Protocols: p}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// response is what a client got.
type response struct {
	status          int
	body            string
	header, trailer http.Header
	err             error
}

func do(t testing.TB, c *http.Client, r *http.Request) response {
	t.Helper()
	resp, err := c.Do(r)
	if err != nil {
		return response{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return response{resp.StatusCode, string(b), resp.Header, resp.Trailer, err}
}

func request(t testing.TB, p *proxytest.Proxy, method, path, body string, fields ...string) *http.Request {
	t.Helper()
	var b io.Reader
	if body != "" {
		b = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.Addr()+path, b)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	return r
}
