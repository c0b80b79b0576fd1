// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control"
	"weir.dev/weir/control/controltest"
	"weir.dev/weir/control/fleet"
	"weir.dev/weir/control/infra"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
	"weir.dev/weir/internal/golden"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/xds/wire"
)

func TestMain(m *testing.M) { leak.Main(m) }

const objects = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, addresses: [{value: 192.0.2.7}], listeners: [{name: http, port: 80, protocol: HTTP}]}
`

// written keeps the newest Programmed condition of the Gateway.
type written struct {
	mu  sync.Mutex
	all []metav1.Condition
}

func (w *written) Write(updates []*status.Update) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, u := range updates {
		if s, ok := u.Status.(*gwapiv1.GatewayStatus); ok {
			for _, c := range s.Conditions {
				if c.Type == string(gwapiv1.GatewayConditionProgrammed) {
					w.all = append(w.all, c)
				}
			}
		}
	}
}

// plane is a control plane on a socket.
type plane struct {
	t       *testing.T
	at      string
	written written
	queue   *source.Queue
	runner  *fleet.Runner
}

func start(t *testing.T, o fleet.Options) *plane {
	t.Helper()
	p := &plane{t: t, queue: &source.Queue{}}
	o.Queue, o.Log = p.queue, slog.New(slog.DiscardHandler)
	p.runner = fleet.New(o)
	c := &control.Controller{Queue: p.queue, Translator: control.NewTranslator(control.Options{}), Runner: p.runner, Writer: &p.written}
	ctx, cancel := context.WithCancel(context.Background())
	g := grpc.NewServer()
	p.runner.Register(g)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.at = ln.Addr().String()
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.Run(ctx) })
	wg.Go(func() { _ = g.Serve(ln) })
	t.Cleanup(func() { g.Stop(); cancel(); wg.Wait(); p.runner.Close() })
	return p
}

func (p *plane) apply(text string) {
	p.t.Helper()
	changes := controltest.Objects(p.t, text)
	p.queue.Put(changes...)
}

// until waits for something to be so.
func (p *plane) until(what string, f func() (string, bool)) {
	p.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(20 * time.Second); ; {
		text, ok := f()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			p.t.Fatalf("%s: %s", what, text)
		}
	}
}

func (p *plane) programmed(want metav1.ConditionStatus, reason gwapiv1.GatewayConditionReason, message string) {
	p.t.Helper()
	p.until("the Gateway's status", func() (string, bool) { return p.is(want, reason, message) })
}

// is tells whether the Gateway's status is so, and what it is.
func (p *plane) is(want metav1.ConditionStatus, reason gwapiv1.GatewayConditionReason, message string) (string, bool) {
	p.written.mu.Lock()
	defer p.written.mu.Unlock()
	if len(p.written.all) == 0 {
		return "none", false
	}
	c := p.written.all[len(p.written.all)-1]
	return fmt.Sprintf("%s %s %q", c.Status, c.Reason, c.Message), c.Status == want && c.Reason == string(reason) && strings.Contains(c.Message, message)
}

// proxy is a client that answers as it is told.
type proxy struct {
	t      *testing.T
	stream grpc.BidiStreamingClient[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]
	end    func()
}

func (p *plane) connect(node *corev3.Node, md ...string) *proxy {
	p.t.Helper()
	conn, err := grpc.NewClient(p.at, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), md...), 20*time.Second)
	s, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	out := &proxy{p.t, s, sync.OnceFunc(func() { cancel(); _ = conn.Close() })}
	p.t.Cleanup(out.end)
	for i, kind := range []string{"envoy.config.cluster.v3.Cluster", "envoy.config.listener.v3.Listener"} {
		q := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: wire.Prefix + kind}
		if i == 0 {
			q.Node = node
		}
		if err := s.Send(q); err != nil && !errors.Is(err, io.EOF) { // One that has been refused hears why.
			p.t.Fatal(err)
		}
	}
	return out
}

// next returns the next response with listeners; those of other kinds it takes.
func (p *proxy) next() *discoveryv3.DeltaDiscoveryResponse {
	p.t.Helper()
	for {
		r, err := p.stream.Recv()
		if err != nil {
			p.t.Fatal(err)
		}
		if strings.HasSuffix(r.GetTypeUrl(), ".Listener") {
			return r
		}
		p.answer(r, "")
	}
}

func (p *proxy) answer(r *discoveryv3.DeltaDiscoveryResponse, refusal string) {
	p.t.Helper()
	q := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}
	if refusal != "" {
		q.ErrorDetail = &rpcstatus.Status{Message: refusal}
	}
	if err := p.stream.Send(q); err != nil {
		p.t.Fatal(err)
	}
}

func edge(id string) *corev3.Node { return &corev3.Node{Id: id, Cluster: "default/edge"} }

// A Gateway is programmed when its proxies have taken what it says, and not before; its
// status has the words of one that refuses.
func TestProgrammedOnceAcknowledged(t *testing.T) {
	p := start(t, fleet.Options{Patience: 300 * time.Millisecond})
	p.apply(objects)
	p.programmed(metav1.ConditionFalse, gwapiv1.GatewayReasonNoResources, "run one whose node.cluster is default/edge")

	a := p.connect(edge("a"))
	r := a.next()
	if len(r.GetResources()) != 1 || r.GetResources()[0].GetName() != "default/edge/80" {
		t.Fatalf("it is served %v", r)
	}
	p.programmed(metav1.ConditionFalse, gwapiv1.GatewayReasonPending, "1 of 1 proxies have not acknowledged what they serve: a")
	a.answer(r, "")
	p.programmed(metav1.ConditionTrue, gwapiv1.GatewayReasonProgrammed, "")

	b := p.connect(edge("b"))
	b.answer(b.next(), "")
	p.apply(strings.ReplaceAll(objects, "port: 80,", "port: 81,"))
	// A change comes as what is new, and then as what is gone.
	a.answer(a.next(), "")
	a.answer(a.next(), "")
	b.answer(b.next(), "no port 81 for me")
	p.programmed(metav1.ConditionFalse, gwapiv1.GatewayReasonInvalid, "proxy b refuses listener: no port 81 for me")
	b.answer(b.next(), "")
	p.programmed(metav1.ConditionTrue, gwapiv1.GatewayReasonProgrammed, "")

	a.end()
	b.end()
	p.programmed(metav1.ConditionFalse, gwapiv1.GatewayReasonNoResources, "no proxy is connected")
	p.until("the proxies to be gone", func() (string, bool) {
		all := p.runner.Proxies()[source.Name{Namespace: "default", Name: "edge"}]
		return fmt.Sprint(all), len(all) == 0
	})
}

// While proxies answer in time, a change is not told as anything but programmed.
func TestProgrammedDoesNotFlap(t *testing.T) {
	p := start(t, fleet.Options{Patience: time.Minute})
	a := p.connect(edge("a")) // Before there is a Gateway.
	p.apply(objects)
	a.answer(a.next(), "")
	p.programmed(metav1.ConditionTrue, gwapiv1.GatewayReasonProgrammed, "")
	for port := range 5 {
		p.apply(strings.ReplaceAll(objects, "port: 80,", fmt.Sprintf("port: %d,", 8000+port)))
		a.answer(a.next(), "")
		a.answer(a.next(), "")
	}
	p.until("the last answer", func() (string, bool) {
		all := p.runner.Proxies()[source.Name{Namespace: "default", Name: "edge"}]
		return fmt.Sprint(all), len(all) == 1 && all[0].Acked == all[0].Sent
	})
	p.written.mu.Lock()
	defer p.written.mu.Unlock()
	for _, c := range p.written.all {
		if c.Status != metav1.ConditionTrue {
			t.Errorf("the status was %v", c)
		}
	}
}

func TestWhoIsServed(t *testing.T) {
	review := func(_ context.Context, token string) (fleet.Identity, error) {
		if token != "good" && token != "other" {
			return fleet.Identity{}, fmt.Errorf("the token is not valid")
		}
		return fleet.Identity{Namespace: "default", Account: map[string]string{"good": "edge-weir", "other": "x"}[token]}, nil
	}
	p := start(t, fleet.Options{Guard: &fleet.Guard{Review: review}, Namespaces: infra.Namespaces{Own: "weir-system"}})
	p.apply(objects)
	<-p.runner.Begun()
	for name, tt := range map[string]struct {
		node *corev3.Node
		md   []string
		code codes.Code
		want string
	}{
		"no name":           {&corev3.Node{Cluster: "edge"}, nil, codes.InvalidArgument, `node.cluster is "edge": want the namespace and name of a Gateway`},
		"another dialect":   {&corev3.Node{Cluster: "ingress-weir"}, []string{"authorization", "Bearer good"}, codes.PermissionDenied, "ingress-weir is served to service account weir-system/ingress-weir"},
		"nobody":            {edge("a"), nil, codes.PermissionDenied, "does not say who it is"},
		"a token that lies": {edge("a"), []string{"authorization", "Bearer bad"}, codes.PermissionDenied, "the token is not valid"},
		"another account":   {edge("a"), []string{"authorization", "Bearer other"}, codes.PermissionDenied, "is served to service account default/edge-weir"},
		"no Gateway":        {&corev3.Node{Cluster: "default/none"}, []string{"authorization", "Bearer good"}, codes.PermissionDenied, "there is no Gateway default/none"},
	} {
		t.Run(name, func(t *testing.T) {
			a := p.connect(tt.node, tt.md...)
			_, err := a.stream.Recv()
			if s, _ := grpcstatus.FromError(err); s.Code() != tt.code || !strings.Contains(s.Message(), tt.want) {
				t.Errorf("it is answered %v", err)
			}
		})
	}
	a := p.connect(edge("a"), "authorization", "Bearer good")
	a.next()
}

const merged = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller, parametersRef: {group: weir.dev, kind: GatewayParameters, name: p, namespace: default}}
---
apiVersion: weir.dev/v1alpha1
kind: GatewayParameters
metadata: {name: p}
spec: {mergeGateways: true}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: a, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {gatewayClassName: weir, addresses: [{value: 192.0.2.7}], listeners: [{name: http, port: 80, protocol: HTTP, hostname: a.example}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: b, creationTimestamp: "2026-01-02T00:00:00Z"}
spec: {gatewayClassName: weir, addresses: [{value: 192.0.2.8}], listeners: [{name: http, port: 80, protocol: HTTP, hostname: b.example}]}
`

// Proxies that all Gateways of a class share name the class, are of an account in the control
// plane's namespace, and are waited for by both Gateways.
func TestSharedByClass(t *testing.T) {
	review := func(_ context.Context, token string) (fleet.Identity, error) {
		return fleet.Identity{Namespace: "weir-system", Account: token}, nil
	}
	p := start(t, fleet.Options{Patience: time.Minute, Guard: &fleet.Guard{Review: review}, Namespaces: infra.Namespaces{Own: "weir-system"}})
	p.apply(merged)
	<-p.runner.Begun()
	node := &corev3.Node{Cluster: "class-weir", Id: "p"}
	intruder := p.connect(node, "authorization", "Bearer edge")
	_, err := intruder.stream.Recv()
	if s, _ := grpcstatus.FromError(err); s.Code() != codes.PermissionDenied || !strings.Contains(s.Message(), "Gateway class-weir is served to service account weir-system/class-weir") {
		t.Errorf("another is answered %v", err)
	}
	a := p.connect(node, "authorization", "Bearer class-weir")
	r := a.next()
	if len(r.GetResources()) != 1 || r.GetResources()[0].GetName() != "class-weir/80" {
		t.Errorf("it is served %v", r.GetResources())
	}
	a.answer(r, "")
	p.until("both Gateways to be programmed", func() (string, bool) {
		p.written.mu.Lock()
		defer p.written.mu.Unlock()
		n := 0
		for _, c := range p.written.all {
			if c.Status == metav1.ConditionTrue {
				n++
			}
		}
		return fmt.Sprint(p.written.all), n == 2
	})
}

func TestAccountOfCertificate(t *testing.T) {
	for uri, want := range map[string]string{
		"":                                   "<nil>",
		"spiffe://x/ns/default/sa/edge-weir": "service account default/edge-weir",
		"spiffe://x/workload":                "service account /",
		"https://x/ns/default/sa/edge-weir":  "<nil>",
	} {
		cert := &x509.Certificate{}
		if u, err := url.Parse(uri); err != nil {
			t.Fatal(err)
		} else if uri != "" {
			cert.URIs = []*url.URL{u}
		}
		state := tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{cert}}}
		if got := fleet.Identify(t, state); got != want {
			t.Errorf("%q is %s, want %s", uri, got, want)
		}
	}
}

const service = `---
apiVersion: v1
kind: Service
metadata:
  name: edge-weir
  labels: {app.kubernetes.io/managed-by: weir}
  ownerReferences: [{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, name: edge, uid: x}]
spec: {type: LoadBalancer, ports: [{port: 80}]}

`

// The addresses of a Gateway that is provisioned are its Service's: those that it asks for
// and does not get are told.
func TestProvisioned(t *testing.T) {
	lost := make(chan source.Name, 1)
	p := start(t, fleet.Options{Patience: 300 * time.Millisecond, Provisioned: true, Lost: func(n source.Name) { lost <- n }})
	p.apply(objects)
	p.programmed(metav1.ConditionFalse, gwapiv1.GatewayReasonAddressNotUsable, "192.0.2.7")
	a := p.connect(edge("a"))
	r := a.next()
	if port := r.GetResources()[0].GetResource().GetValue(); !strings.Contains(string(port), "\x18\x90?") {
		t.Errorf("port 80 is not bound at 8080: %q", port)
	}
	a.answer(r, "")
	p.service("192.0.2.7")
	p.programmed(metav1.ConditionTrue, gwapiv1.GatewayReasonProgrammed, "")
	p.service("192.0.2.8")
	p.programmed(metav1.ConditionFalse, gwapiv1.GatewayReasonAddressNotUsable, "192.0.2.7")
	p.queue.Put(source.Change{Key: source.Key{Kind: source.Service, Name: source.Name{Namespace: "default", Name: "edge-weir"}}})
	if n := <-lost; n.String() != "default/edge" {
		t.Errorf("of %s the Service is lost", n)
	}
}

// service puts a Service as a cluster gives it, with its status.
func (p *plane) service(address string) {
	p.t.Helper()
	changes, problems := controltest.Parse(p.t, &golden.Archive{Files: []golden.File{{Name: "in.yaml", Data: service}}})
	if len(problems) > 0 || len(changes) != 1 {
		p.t.Fatal(problems)
	}
	o := changes[0].Object.(*corev1.Service)
	o.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: address}}
	p.queue.Put(changes...)
}
