// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"fmt"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/wire"
)

// sub is one kind of resource.
type sub struct {
	t *wire.Type
	// have are the resources that the proxy was given, by version. It outlives streams,
	// as version does, which is that of the last state of the world that was taken.
	have    map[string]string
	version string
	// asked are the names that the server was told last, told whether that was on this
	// stream.
	asked map[string]bool
	told  bool
	nonce string
	// looked is the source's rev of the kind when asked was compared with what is wanted.
	looked uint64
	// wrong is why the last state of the world was refused, bad its version, and again
	// how often it has come since.
	wrong error
	bad   string
	again uint
}

// sub returns the state of a kind, made at its first use.
func (m *mux) sub(t *wire.Type) *sub {
	b := m.subs[t.Kind]
	if b == nil {
		b = &sub{t: t, have: map[string]string{}}
		m.subs[t.Kind] = b
	}
	return b
}

// ask tells the server of all that is wanted and that it does not know yet. It is called after each message: what it
// costs when nothing else is wanted does not depend on how much that is.
func (m *mux) ask(ctx context.Context) error {
	for _, kind := range m.s.c.order {
		t := m.s.c.types[kind]
		b, rev := m.subs[kind], m.s.rev(kind)
		if b != nil && b.told && b.looked == rev {
			continue
		}
		names := m.s.names(kind)
		if b == nil && len(names) == 0 || m.own != nil && m.own != t {
			continue
		}
		if t.Stream == "" && !m.delta {
			continue // Nobody could answer; who asks was told.
		}
		b = m.sub(t)
		b.looked = rev
		first := !b.told
		more, less := m.wanted(b, names)
		if first && len(names) == 0 || !first && len(more)+len(less) == 0 {
			continue
		}
		b.told = true
		if first {
			more, less = names, nil
		}
		var err error
		if m.delta {
			err = m.sendDelta(ctx, b, &discoveryv3.DeltaDiscoveryRequest{
				ResourceNamesSubscribe: plain(more, first), ResourceNamesUnsubscribe: less, InitialResourceVersions: b.initial(first),
			})
		} else {
			err = m.sendState(ctx, b, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// plain leaves the wildcard out of the first request, where no name at all stands for
// it, as every server understands.
func plain(names []string, first bool) []string {
	if first && len(names) == 1 && names[0] == Wildcard {
		return nil
	}
	return names
}

// initial are the versions that a new stream begins with.
func (b *sub) initial(first bool) map[string]string {
	if !first || len(b.have) == 0 {
		return nil
	}
	return b.have
}

// wanted makes names what is asked for, and returns what they have more and less than
// before.
func (m *mux) wanted(b *sub, names []string) (more, less []string) {
	want := make(map[string]bool, len(names))
	for _, n := range names {
		want[n] = true
		if !b.asked[n] {
			more = append(more, n)
		}
	}
	for n := range b.asked {
		if !want[n] {
			less = append(less, n)
			m.forget(b, n)
			for _, member := range b.members(n) {
				m.forget(b, member)
			}
		}
	}
	b.asked = want
	if len(less) > 0 {
		m.s.c.o.Target.Forget(m.s.key, b.t.Kind, less)
	}
	return more, less
}

// members are the resources that came because a name was asked for that is not theirs:
// virtual hosts of a route configuration, those of a collection, or all there are.
func (b *sub) members(name string) (out []string) {
	for n := range b.have {
		if name == Wildcard || wire.GlobOf(n) == name || b.t.Kind == xds.KindVirtualHost && xds.RoutesOf(n) == name {
			out = append(out, n)
		}
	}
	return out
}

// wants reports whether a resource was asked for, by its name or its collection's. Virtual
// hosts have names of their own under the names that are asked for.
func (b *sub) wants(name string) bool {
	return b.asked[name] || b.asked[Wildcard] || b.t.Kind == xds.KindVirtualHost || wire.IsURN(name) && b.asked[wire.GlobOf(name)]
}

// forget drops what is known of a resource that nobody wants any more, or that is gone.
func (m *mux) forget(b *sub, name string) {
	delete(b.have, name)
	m.ttl.drop(resource{b.t.Kind, name})
}

// sendState tells a state-of-the-world server what is wanted; err, if not nil, is what
// is wrong with its last response.
func (m *mux) sendState(ctx context.Context, b *sub, wrong error) error {
	r := &discoveryv3.DiscoveryRequest{TypeUrl: b.t.URL, VersionInfo: b.version, ResponseNonce: b.nonce, ErrorDetail: detail(wrong)}
	for _, n := range m.s.names(b.t.Kind) {
		if b.asked[n] {
			r.ResourceNames = append(r.ResourceNames, n)
		}
	}
	r.ResourceNames = plain(r.ResourceNames, true)
	r.Node = m.node()
	return m.send(ctx, r)
}

func (m *mux) sendDelta(ctx context.Context, b *sub, r *discoveryv3.DeltaDiscoveryRequest) error {
	r.TypeUrl, r.Node = b.t.URL, m.node()
	return m.send(ctx, r)
}

func (m *mux) node() *corev3.Node {
	if m.spoken && (m.api.GetSetNodeOnFirstMessageOnly() || m.delta) {
		return nil
	}
	m.spoken = true
	if m.own == nil && m.delta {
		return featured(m.s.c.o.Node, wire.DeliversHosts)
	}
	return m.s.c.o.Node
}

// take uses a response and answers it.
func (m *mux) take(ctx context.Context, r proto.Message) error {
	switch r := r.(type) {
	case *discoveryv3.DiscoveryResponse:
		return m.takeState(ctx, r)
	case *discoveryv3.DeltaDiscoveryResponse:
		return m.takeDelta(ctx, r)
	}
	return nil
}

// known returns the state of a response's kind, nil if nothing of the kind was asked for.
func (m *mux) known(ctx context.Context, url string) *sub {
	t := m.s.c.urls[url]
	if t == nil || m.subs[t.Kind] == nil || !m.subs[t.Kind].told {
		m.s.log.Warn("the management server sends what nobody asked for: it is left out", "type_url", fmt.Sprintf("%.200s", url))
		m.slow(ctx)
		return nil
	}
	return m.subs[t.Kind]
}

func (m *mux) takeState(ctx context.Context, r *discoveryv3.DiscoveryResponse) error {
	b := m.known(ctx, r.GetTypeUrl())
	if b == nil {
		return nil
	}
	b.nonce = r.GetNonce()
	err := m.useState(b, r)
	if err == nil {
		b.version, b.wrong, b.bad, b.again = r.GetVersionInfo(), nil, "", 0
		return m.sendState(ctx, b, nil)
	}
	first := b.wrong == nil || b.bad != r.GetVersionInfo()
	b.wrong, b.bad = err, r.GetVersionInfo()
	m.slow(ctx)
	if first {
		b.again = 0
		m.nack(b, b.bad, err)
		return m.sendState(ctx, b, err)
	}
	m.refuseLater(b)
	return nil
}

// slow waits if too much has been wrong of late.
func (m *mux) slow(ctx context.Context) {
	if wait := m.wrong.take(time.Now()); wait > 0 {
		m.rest(ctx, wait)
	}
}

// refuseLater tells the server after a pause that what it has sent again is still wrong:
// there are servers that answer each refusal with the same at once.
func (m *mux) refuseLater(b *sub) {
	if !m.nacks.has(b.t.Kind) {
		m.nacks.set(b.t.Kind, min(30*time.Second, time.Second<<min(b.again, 8)))
		b.again++
	}
}

func (m *mux) refuseAgain(ctx context.Context) error {
	for _, kind := range m.nacks.over() {
		if b := m.subs[kind]; b.told && b.wrong != nil {
			if err := m.sendState(ctx, b, b.wrong); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *mux) nack(b *sub, version string, err error) {
	m.s.log.Error("a response of the management server is refused: what was good stays in use", "kind", b.t.Kind, "version", fmt.Sprintf("%.100s", version), "error", err)
}

func (m *mux) takeDelta(ctx context.Context, r *discoveryv3.DeltaDiscoveryResponse) error {
	b := m.known(ctx, r.GetTypeUrl())
	if b == nil {
		return nil
	}
	u := &Update{Source: m.s.key, Kind: b.t.Kind, Version: r.GetSystemVersionInfo()}
	var wrongs faults
	for _, name := range r.GetRemovedResources() {
		name, err := wire.Canonical(name)
		if err != nil {
			wrongs.add(err)
			continue
		}
		u.Gone = append(u.Gone, name)
	}
	for _, raw := range r.GetResources() {
		got, err := b.t.FromResource(raw)
		if err != nil {
			wrongs.add(err)
			continue
		}
		if !b.wants(got.Name) {
			continue
		}
		m.expireIn(b, got)
		switch {
		case got.Message != nil:
			b.put(u, got)
		case b.t.Kind == xds.KindVirtualHost && got.TTL == 0:
			// It says that no virtual host has these names.
			u.Unknown = append(append(u.Unknown, got.Name), got.Aliases...)
		}
	}
	wrong := map[string]bool{}
	refusals := m.s.c.o.Target.Apply(u)
	for _, x := range refusals {
		wrong[x.Name] = true
	}
	for _, got := range u.Put {
		if !wrong[got.Name] {
			b.have[got.Name] = got.Version
		}
	}
	for _, n := range u.Gone {
		m.forget(b, n)
	}
	wrongs.refused(refusals)
	err := wrongs.err()
	if err != nil {
		m.slow(ctx)
		m.nack(b, u.Version, err)
	}
	return m.sendDelta(ctx, b, &discoveryv3.DeltaDiscoveryRequest{ResponseNonce: r.GetNonce(), ErrorDetail: detail(err)})
}

// useState gives the proxy what a state of the world says.
func (m *mux) useState(b *sub, r *discoveryv3.DiscoveryResponse) error {
	u := &Update{Source: m.s.key, Kind: b.t.Kind, Version: r.GetVersionInfo(), Empty: len(r.GetResources()) == 0 && (m.conn == nil || len(b.have) > 0)}
	var wrongs faults
	seen := map[string]bool{}
	for _, raw := range r.GetResources() {
		got, err := b.t.FromAny(raw, r.GetVersionInfo())
		switch {
		case err != nil:
			wrongs.add(err)
			continue
		case seen[got.Name]:
			wrongs.add(fmt.Errorf("%q is there twice", got.Name))
			continue
		}
		seen[got.Name] = true
		if !b.wants(got.Name) {
			continue
		}
		m.expireIn(b, got)
		if got.Message != nil {
			b.put(u, got)
		}
	}
	// One that cannot be read may be any: none is taken away then.
	if b.t.Whole && wrongs.err() == nil {
		for n := range b.have {
			if !seen[n] {
				u.Gone = append(u.Gone, n)
			}
		}
	}
	wrongs.refused(m.s.c.o.Target.Apply(u))
	for _, got := range u.Put {
		b.have[got.Name] = got.Version
	}
	for _, n := range u.Gone {
		m.forget(b, n)
	}
	return wrongs.err()
}

// put adds a resource to an update. Those of kinds that come whole, such as clusters, are kept as messages and may be
// thousands: they have in common with the one before what both say alike.
func (b *sub) put(u *Update, r wire.Resource) {
	if n := len(u.Put); n > 0 && b.t.Whole {
		xds.Share(r.Message, u.Put[n-1].Message)
	}
	u.Put = append(u.Put, r)
}

// expireIn begins the TTL of a resource anew.
func (m *mux) expireIn(b *sub, r wire.Resource) {
	key := resource{b.t.Kind, r.Name}
	if r.TTL <= 0 {
		m.ttl.drop(key)
		return
	}
	m.ttl.set(key, r.TTL)
}

// expire takes resources away whose TTL is over.
func (m *mux) expire() {
	for _, e := range m.ttl.over() {
		b := m.subs[e.kind]
		m.s.log.Warn("a resource is no more: its TTL is over, and the management server has not told it again", "kind", e.kind, "name", e.name)
		m.forget(b, e.name)
		m.s.c.o.Target.Apply(&Update{Source: m.s.key, Kind: e.kind, Gone: []string{e.name}})
	}
}
