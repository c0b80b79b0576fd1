// SPDX-License-Identifier: Apache-2.0

package call_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/upstream/call"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &corev3.GrpcService{}, &corev3.HttpUri{})
}

func options(name, value string) []*corev3.HeaderValueOption {
	return []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: name, Value: value}}}
}

// asked is a real gRPC service.
type asked struct {
	healthv1.UnimplementedHealthServer
	check func(ctx context.Context, service string) (*healthv1.HealthCheckResponse, error)
}

func (a asked) Check(ctx context.Context, r *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	return a.check(ctx, r.GetService())
}

func serveGRPC(t *testing.T, check func(ctx context.Context, service string) (*healthv1.HealthCheckResponse, error)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	healthv1.RegisterHealthServer(s, asked{check: check})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(ln)
	}()
	t.Cleanup(func() { s.Stop(); <-done })
	return ln.Addr().String()
}

const check = "/grpc.health.v1.Health/Check"

func unary(tk *engine.Task, c *call.Client, service string) (string, error) {
	k := c.BeginUnary(check)
	defer k.End()
	k.Tell(nil)
	var err error
	k.Body, err = proto.MarshalOptions{}.MarshalAppend(k.Body, &healthv1.HealthCheckRequest{Service: service})
	if err != nil {
		return "", err
	}
	m, err := k.Unary(tk)
	if err != nil {
		return "", err
	}
	var r healthv1.HealthCheckResponse
	if err := proto.Unmarshal(m, &r); err != nil {
		return "", err
	}
	return r.GetStatus().String(), nil
}

func TestUnary(t *testing.T) {
	r := newRig(t)
	ended := make(chan struct{})
	t.Cleanup(func() { close(ended) })
	r.add("a", speak2, serveGRPC(t, func(ctx context.Context, service string) (*healthv1.HealthCheckResponse, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		if d, ok := ctx.Deadline(); !ok || time.Until(d) > 2*time.Second {
			return nil, status.Error(codes.Internal, "no deadline came")
		}
		if got := strings.Join(append(md.Get(":authority"), md.Get("x-who")...), " "); got != "auth.example me" {
			return nil, status.Error(codes.Internal, "it came from "+got)
		}
		switch service {
		case "no":
			return nil, status.Error(codes.PermissionDenied, "nö: 100%")
		case "slow":
			<-ended // Later than the caller: a server that keeps to the deadline may be first.
		case "long":
			return nil, status.Error(codes.OutOfRange, strings.Repeat("x", 2000))
		}
		return &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_SERVING}, nil
	}))
	m := &corev3.GrpcService{}
	if err := protojson.Unmarshal([]byte(`{"envoy_grpc":{"cluster_name":"a","authority":"auth.example"},"timeout":"2s",
		"initial_metadata":[{"key":"x-who","value":"me"}]}`), m); err != nil {
		t.Fatal(err)
	}
	s, err := call.Compile(m, call.Context{Warn: func(path, reason string) { t.Error(path, reason) }})
	if err != nil {
		t.Fatal(err)
	}
	c := call.NewClient(s, r.clusters)
	for _, x := range []struct {
		service, want, message string
		code                   codes.Code
	}{
		{"yes", "SERVING", "", codes.OK},
		{"no", "", "nö: 100%", codes.PermissionDenied},
		{"slow", "", "", codes.DeadlineExceeded},
		{"long", "", strings.Repeat("x", 2000), codes.OutOfRange},
		{"again", "SERVING", "", codes.OK},
	} {
		r.on(func(tk *engine.Task) {
			got, err := unary(tk, c, x.service)
			e, _ := errors.AsType[*call.StatusError](err)
			if got != x.want || call.Code(err) != int(x.code) || e != nil && x.message != "" && e.Message != x.message {
				t.Errorf("%s: %q %v", x.service, got, err)
			}
		})
	}
	caller := call.New(r.loops, r.clusters)
	k := caller.Client(s).BeginUnary(check)
	defer k.End()
	k.Tell(nil)
	if m, err := caller.Unary(t.Context(), k); err != nil || len(m) == 0 {
		t.Errorf("from a goroutine: %q %v", m, err)
	}
}

// TestUnaryHostile: what is no answer of gRPC's is an error.
func TestUnaryHostile(t *testing.T) {
	frame := func(s string) string { return "\x00\x00\x00\x00" + string(rune(len(s))) + s }
	for _, c := range []struct {
		name, body, status string
		http               int
		code               codes.Code
	}{
		{"fine", frame("ok"), "0", 200, codes.OK},
		{"no status", frame("ok"), "", 200, codes.Unknown},
		{"odd status", frame("ok"), "zero", 200, codes.Unknown},
		{"no message", "", "0", 200, codes.Internal},
		{"half a message", frame("ok")[:6], "0", 200, codes.Internal},
		{"two messages", frame("ok") + frame("ok"), "0", 200, codes.Internal},
		{"compressed", "\x01" + frame("ok")[1:], "0", 200, codes.Internal},
		{"lies about its length", "\x00\xff\xff\xff\xffx", "0", 200, codes.Internal},
		{"too large", frame(strings.Repeat("x", 100)), "0", 200, codes.ResourceExhausted},
		{"HTTP", "who are you?", "", 404, codes.Unimplemented},
		{"denied by what stands before it", "", "", 403, codes.PermissionDenied},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.add("a", speak2, serveBoth(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/grpc")
				w.WriteHeader(c.http)
				_, _ = w.Write([]byte(c.body))
				if c.status != "" {
					w.Header().Set(http.TrailerPrefix+"Grpc-Status", c.status)
				}
			}))
			client := call.NewClient(&call.Service{Cluster: "a", Timeout: 5 * time.Second, Limit: 50}, r.clusters)
			r.on(func(tk *engine.Task) {
				k := client.BeginUnary(check)
				defer k.End()
				m, err := k.Unary(tk)
				if call.Code(err) != int(c.code) || err == nil && string(m) != "ok" {
					t.Errorf("%q %v, want %v", m, err, c.code)
				}
			})
		})
	}
}

func TestCompile(t *testing.T) {
	for _, c := range []struct{ in, err string }{
		{`{"envoy_grpc":{"cluster_name":"a"}}`, ""},
		{`{}`, "TargetSpecifier"},
		{`{"envoy_grpc":{"cluster_name":"a","authority":"a b"}}`, "envoy_grpc.authority"},
		{`{"google_grpc":{"target_uri":"a:1","stat_prefix":"a"}}`, "STRICT_DNS"},
		{`{"envoy_grpc":{"cluster_name":"a"},"initial_metadata":[{"key":"a b","value":"x"}]}`, "initial_metadata[0]"},
		{`{"envoy_grpc":{"cluster_name":"a"},"retry_policy":{"retry_on":"5xx,unavailable","num_retries":2,"retry_back_off":{"base_interval":"1s"}}}`, ""},
		{`{"envoy_grpc":{"cluster_name":"a"},"retry_policy":{"retry_on":"sometimes"}}`, `retry_policy.retry_on: condition "sometimes"`},
		{`{"envoy_grpc":{"cluster_name":"a"},"retry_policy":{"retry_back_off":{"base_interval":"1s","max_interval":"0.5s"}}}`, "shorter"},
	} {
		m := &corev3.GrpcService{}
		if err := protojson.Unmarshal([]byte(c.in), m); err != nil {
			t.Fatal(err)
		}
		_, err := call.Compile(m, call.Context{Warn: func(string, string) {}})
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %v, want %q", c.in, err, c.err)
		}
	}
	for _, c := range []struct{ uri, host, path, err string }{
		{"https://a.example:8080/keys?x=1", "a.example:8080", "/keys?x=1", ""},
		{"http://a.example", "a.example", "/", ""},
		{"a.example/keys", "a.example", "/keys", ""},
		{"127.0.0.1:9000", "127.0.0.1:9000", "/", ""},
		{"http://a b/", "", "", "uri"},
		{"/", "", "", "no host"},
	} {
		m := &corev3.HttpUri{}
		if err := protojson.Unmarshal([]byte(`{"uri":"`+c.uri+`","cluster":"a","timeout":"1s"}`), m); err != nil {
			t.Fatal(err)
		}
		s, err := call.CompileURI(m)
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %q", c.uri, err, c.err)
			}
		case err != nil:
			t.Errorf("%s: %v", c.uri, err)
		case s.Authority != c.host || s.Path != c.path:
			t.Errorf("%s: %q %q", c.uri, s.Authority, s.Path)
		}
	}
}
