// SPDX-License-Identifier: Apache-2.0

// Package fleet serves Gateways to proxies of other processes: Weir's and Envoy's, over
// the aggregated stream of xDS, each the Gateway that its node.cluster names, or all of a
// class that share their proxies.
//
// It knows which proxies there are and what each has taken or refused, and tells that to
// the control plane: a Gateway is programmed once all of its proxies serve it. It opens
// no sockets; who listens is given its [Runner.Register].
package fleet

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/emit"
	"weir.dev/weir/control/infra"
	"weir.dev/weir/control/source"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/serve"
)

// patience is how long an answer of proxies is waited for before the status says that it
// is missing, and how long proxies have to come back to a control plane that has started.
const patience = 10 * time.Second

// Options of a Runner.
type Options struct {
	// Queue is woken when something has become known of proxies.
	Queue *source.Queue
	// Guard says who may be served what. Nil lets everybody have everything.
	Guard *Guard
	// Identifier is how the control plane calls itself to proxies.
	Identifier string
	// Provisioned tells that proxies are reached by the Services of package infra, and as
	// nobody who may bind ports below 1024. Without it a Gateway is reached at the addresses
	// that it asks for.
	Provisioned bool
	// Namespaces are where the proxies are, which tells their service accounts.
	Namespaces infra.Namespaces
	// Lost is told of a Gateway whose Service has gone. It may be nil.
	Lost func(gateway source.Name)
	// Shared is told that Post may return something else: what other replicas are to know,
	// of which Peer tells the same. Nil is that there are none. It must not block.
	Shared func()
	// Patience bounds the wait for the answers of proxies; 0 is 10 s.
	Patience time.Duration
	// Settle is how long proxies that take over from others have to be ready before they are told of, and
	// Linger how long the others are there from then on; 0 are 10 s and 30 s.
	Settle, Linger time.Duration
	Log            *slog.Logger
}

// A Runner is a control.Runner.
type Runner struct {
	o       Options
	server  *serve.Server
	started time.Time
	begun   chan struct{} // closed by the first Hear

	mu       sync.Mutex
	gateways map[source.Name]*gateway
	changed  map[source.Name]bool   // something may have become known of their proxies
	services map[source.Name]lead   // Services that lead to Gateways
	classes  map[source.Name]string // of all Gateways
	nodes    map[string]build.Place // all that are known
	// serving are those that serve the Gateways of the Gateway API, and leavers those that are leaving.
	serving  map[source.Name]*gateway
	leavers  map[source.Name]*gateway
	versions int
	// peers are what other replicas have posted, and heardAll that all have been heard of.
	peers    map[string]post
	heardAll bool
}

// gateway is a Gateway and its proxies. It is there as long as one of both is.
type gateway struct {
	// store has what is everybody's, and views has the same for those who take it in another
	// form, or prefer other endpoints.
	store   *xds.Store
	views   map[viewID]*view
	clients map[uint64]serve.Client
	// coming is how many are being served that are no clients yet.
	coming int
	digest digest // of the store's newest snapshot, if there are other replicas
	// fleet is what the View knows; nil without a Gateway.
	fleet *source.Fleet
	// asked are the addresses that the Gateway asks for, and reached those of its Service.
	asked, reached []string
	// since is when an answer was last begun to be waited for, or the last proxy went;
	// timer ends the wait.
	since time.Time
	timer *time.Timer
	// members are the Gateways that it serves; none if it is gone.
	members []source.Name
	leaving *leaving // not nil: it is gone, and its proxies serve on
}

// New returns a Runner.
func New(o Options) *Runner {
	o.Patience, o.Settle, o.Linger = cmp.Or(o.Patience, patience), cmp.Or(o.Settle, settle), cmp.Or(o.Linger, linger)
	r := &Runner{
		o: o, started: time.Now(), begun: make(chan struct{}), gateways: map[source.Name]*gateway{}, changed: map[source.Name]bool{},
		services: map[source.Name]lead{}, classes: map[source.Name]string{}, nodes: map[string]build.Place{},
		serving: map[source.Name]*gateway{}, leavers: map[source.Name]*gateway{}, peers: map[string]post{},
	}
	r.server = serve.New(serve.Options{Store: r.store, Changed: r.heard, Identifier: o.Identifier, Log: o.Log})
	return r
}

// Register makes the Runner's services known to a gRPC server.
func (r *Runner) Register(g *grpc.Server) { r.server.Register(g) }

// Queue is where changes go.
func (r *Runner) Queue() *source.Queue { return r.o.Queue }

// Begun is closed when it is first known which Gateways there are. Who was served before
// would be told that there is nothing.
func (r *Runner) Begun() <-chan struct{} { return r.begun }

// Close ends the waits for proxies.
func (r *Runner) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range r.gateways {
		if g.timer != nil {
			g.timer.Stop()
		}
		if g.leaving != nil {
			g.leaving.timer.Stop()
		}
	}
}

// GatewayOf returns the gateway that a node asks for, by its cluster: a Gateway's
// namespace and name, such as default/edge, or the name of another dialect's gateway, such
// as ingress-weir.
func GatewayOf(node *corev3.Node) (source.Name, error) {
	name, ok := infra.ParseGateway(node.GetCluster())
	if !ok || name.Namespace == "" && !strings.Contains(name.Name, "-") { // Those begin with the dialect.
		return source.Name{}, fmt.Errorf("node.cluster is %.80q: want the namespace and name of a Gateway, such as default/edge, or a gateway of another dialect, such as ingress-weir", node.GetCluster())
	}
	return name, nil
}

// store finds what a proxy is served. One of a Gateway that is not there waits for it.
func (r *Runner) store(ctx context.Context, node *corev3.Node) (*xds.Store, error) {
	name, err := GatewayOf(node)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if r.o.Guard != nil {
		if err := r.admit(ctx, name); err != nil {
			r.o.Log.Warn("refused a proxy", "node", node.GetId(), "gateway", name.String(), "error", err)
			return nil, status.Error(codes.PermissionDenied, err.Error())
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gateway(name).serve(viewOf(node), r.nodes), nil
}

// gateway returns a Gateway's, which it makes if there is none. It is called with mu.
func (r *Runner) gateway(name source.Name) *gateway {
	g := r.gateways[name]
	if g == nil {
		g = &gateway{store: &xds.Store{}, views: map[viewID]*view{}, clients: map[uint64]serve.Client{}}
		r.gateways[name] = g
	}
	return g
}

// heard is told by the server what has become of a client.
func (r *Runner) heard(c serve.Client) {
	name, err := GatewayOf(c.Node)
	if err != nil {
		return // It has been refused.
	}
	r.mu.Lock()
	g := r.gateway(name)
	_, known := g.clients[c.ID]
	switch {
	case c.Gone:
		delete(g.clients, c.ID)
		g.leave(c)
		if len(g.clients) == 0 {
			r.wait(g) // It may come back.
		}
		r.forget(name, g)
	default:
		g.clients[c.ID] = c
		if !known {
			g.come(c)
			r.wait(g)
		}
	}
	r.changed[name] = true
	r.mu.Unlock()
	r.o.Queue.Wake()
	r.shared()
}

// wait begins to wait for answers. It is called with mu.
func (r *Runner) wait(g *gateway) {
	g.since = time.Now()
	if g.timer == nil {
		g.timer = time.AfterFunc(r.o.Patience, r.late)
		return
	}
	g.timer.Reset(r.o.Patience)
}

// late tells that a wait is over.
func (r *Runner) late() {
	r.mu.Lock()
	for name := range r.gateways {
		r.changed[name] = true
	}
	r.mu.Unlock()
	r.o.Queue.Wake()
}

// forget drops a Gateway that is gone and has no proxies. It is called with mu.
func (r *Runner) forget(name source.Name, g *gateway) {
	if g.fleet != nil || g.leaving != nil || len(g.clients)+len(g.reached)+g.coming > 0 {
		return
	}
	if g.timer != nil {
		g.timer.Stop()
	}
	delete(r.gateways, name)
	delete(r.changed, name)
}

// Hear notes where proxies are reached, and tells what has become known of them.
func (r *Runner) Hear(changes []source.Change) []source.Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.begun:
	default:
		r.started = time.Now()
		defer close(r.begun)
	}
	for _, c := range changes {
		switch c.Key.Kind {
		case source.Gateway:
			r.class(c)
		case source.Node:
			r.node(c)
		case source.Service:
			if r.o.Provisioned {
				r.service(c)
			}
		}
	}
	var out []source.Change
	for name := range r.changed {
		if g := r.gateways[name]; g != nil && g.fleet != nil {
			out = r.know(out, name, g, g.fleet.DeepCopyObject().(*source.Fleet))
		}
	}
	clear(r.changed)
	return out
}

// class notes what class a Gateway is of. It is called with mu.
func (r *Runner) class(c source.Change) {
	if o, ok := c.Object.(*gwapiv1.Gateway); ok {
		r.classes[c.Key.Name] = string(o.Spec.GatewayClassName)
	} else {
		delete(r.classes, c.Key.Name)
	}
}

// Plan notes which gateways there are, and tells what is known of their proxies.
func (r *Runner) Plan(t *control.Translator, gateways []source.Name) []source.Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []source.Change
	there := t.Gateways()
	r.serves(t, gateways, there)
	for _, name := range gateways {
		g := r.gateway(name)
		if !slices.Contains(there, name) {
			if g.fleet != nil {
				out = append(out, source.Change{Key: source.Key{Kind: source.Fleets, Name: name}})
			}
			g.fleet = nil
			if r.leave(name, g) {
				continue
			}
			r.publish(name, nil)
			r.forget(name, g)
			continue
		}
		f := source.NewFleet(name)
		if g.fleet != nil {
			f = g.fleet.DeepCopyObject().(*source.Fleet)
		} else if r.starting() {
			r.wait(g) // Its proxies may be there, and on their way.
		}
		f.Unprivileged, g.asked = r.o.Provisioned, nil
		if served := t.Gateway(name); served != nil {
			g.asked = served.Addresses
		}
		out = r.know(out, name, g, f)
	}
	return out
}

// know judges a Gateway's proxies, and adds a change if the View does not know it yet. It
// is called with mu.
func (r *Runner) know(out []source.Change, name source.Name, g *gateway, f *source.Fleet) []source.Change {
	f.Addresses, f.Unusable = g.asked, nil
	if r.o.Provisioned {
		f.Addresses = g.reached
		for _, a := range g.asked {
			if !slices.Contains(g.reached, a) {
				f.Unusable = append(f.Unusable, a)
			}
		}
	}
	r.judge(g, name, f)
	if g.fleet != nil && f.Equal(g.fleet) {
		return out
	}
	g.fleet = f
	return append(out, source.Change{Key: source.Key{Kind: source.Fleets, Name: name}, Object: f})
}

// judge says what proxies have come to. While their answers are waited for it leaves what
// was known. It is called with mu.
func (r *Runner) judge(g *gateway, name source.Name, f *source.Fleet) {
	if r.waiting(name, g) {
		return
	}
	s := r.standing(name, g)
	f.Absent, f.Ready, f.Waiting, f.Problem = s.Proxies == 0, s.Proxies > 0 && s.Late == 0, "", some(s.Refusals, len(s.Refusals))
	switch {
	case f.Absent:
		f.Waiting = r.absent(name)
	case s.Late > 0:
		f.Waiting = fmt.Sprintf("%d of %d proxies have not acknowledged what they serve: %s", s.Late, s.Proxies, some(s.Names, s.Late-s.grouped))
	}
}

// absent says what to do about proxies that are not there.
func (r *Runner) absent(name source.Name) string {
	if r.o.Provisioned {
		return "no proxy is connected: see the Deployment's Pods"
	}
	return fmt.Sprintf("no proxy is connected: run one whose node.cluster is %s", name)
}

// starting tells that proxies may not have come back yet to a control plane that is new.
func (r *Runner) starting() bool { return time.Since(r.started) < r.o.Patience }

// standing is that of the proxies that are connected to this replica.
func (g *gateway) standing() standing {
	newest := g.store.Snapshot()
	out := standing{Digest: g.digest.String(), Proxies: len(g.clients)}
	for _, id := range slices.Sorted(maps.Keys(g.clients)) {
		c := g.clients[id]
		if newest == nil || c.Acked != newest.Version() {
			out.Names = append(out.Names, c.Node.GetId())
		}
		for _, kind := range slices.Sorted(maps.Keys(c.Refused)) {
			out.Refusals = append(out.Refusals, fmt.Sprintf("proxy %s refuses %s: %s", c.Node.GetId(), kind, c.Refused[kind]))
		}
	}
	slices.Sort(out.Names)
	out.Late = len(out.Names)
	return out
}

// most is how many of a kind a status tells of.
const most = 3

// some is those of a list that are told, of so many.
func some(list []string, of int) string {
	list = list[:min(len(list), most)]
	if of <= len(list) {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list, ", "), of-len(list))
}

// Serve publishes what the Gateways' proxies need.
func (r *Runner) Serve(t *control.Translator, gateways []source.Name) []source.Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range gateways {
		r.publish(name, t.Resources(name))
	}
	return nil
}

// publish gives proxies their next snapshot; without resources it is empty. It is called
// with mu.
func (r *Runner) publish(name source.Name, res *emit.Resources) {
	g := r.gateways[name]
	if g == nil || g.leaving != nil {
		return // It is gone, and so are its proxies, or they serve on.
	}
	var all []*emit.Resources
	if res != nil {
		all = append(all, res)
	}
	newest := g.store.Snapshot()
	base := newest
	if base == nil {
		base = (&xds.Builder{}).Build("0")
	}
	next := emit.Snapshot(base, strconv.Itoa(r.versions+1), all)
	if next == newest {
		return
	}
	r.versions++
	g.store.Publish(next)
	g.publishViews(newest)
	if r.o.Shared != nil {
		g.digest.change(xds.Changes(newest, next))
	}
	if r.standing(name, g).Proxies > 0 {
		r.wait(g)
	}
	r.changed[name] = true
	r.shared()
}

// Acknowledged reports whether the proxies of a Gateway have answered to all that they
// were given, or have been waited for in vain.
func (r *Runner) Acknowledged(gateway source.Name) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.gateways[gateway]
	return g == nil || !r.waiting(gateway, g) && !r.takesOver(g)
}

// Proxies returns the proxies that are connected, by Gateway.
func (r *Runner) Proxies() map[source.Name][]serve.Client {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[source.Name][]serve.Client{}
	for name, g := range r.gateways {
		for _, id := range slices.Sorted(maps.Keys(g.clients)) {
			out[name] = append(out[name], g.clients[id])
		}
	}
	return out
}
