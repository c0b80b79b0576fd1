// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"time"

	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/resource"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/fetch"
)

// dynamic is what is known of the listeners and clusters that are fetched, for the admin
// to tell. It is guarded by the proxy's mu.
type dynamic struct {
	versions map[xds.Kind]string // of the last response that was taken as a whole
	states   map[refusal]*fetched
	bad      map[refusal]bool // those of which the newest was refused
}

// A stamp says which version of a resource something is, and since when.
type stamp struct {
	version string
	at      time.Time
}

// fetched is one listener or cluster.
type fetched struct {
	tried stamp // the newest, whatever became of it
	// now is the newest that was taken. before is the one that serves while now warms, if
	// it is a cluster.
	now, before stamped
	refused     *resource.Refused // the newest, if it was refused
}

// An stamped is a message and its stamp.
type stamped struct {
	message proto.Message
	stamp   stamp
}

// tried notes that an update is about to be applied.
func (p *Proxy) tried(u *fetch.Update, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := &p.fetching.dynamic
	if d.states == nil {
		d.states, d.bad, d.versions = map[refusal]*fetched{}, map[refusal]bool{}, map[xds.Kind]string{}
	}
	for _, name := range u.Gone {
		delete(d.states, refusal{u.Kind, name})
		delete(d.bad, refusal{u.Kind, name})
	}
	for _, r := range u.Put {
		key := refusal{u.Kind, r.Name}
		if p.isStatic(u.Kind, r.Name) {
			continue
		}
		f := d.states[key]
		if f == nil {
			f = &fetched{}
			d.states[key] = f
		}
		f.tried = stamp{r.Version, now}
		if u.Kind == xds.KindCluster && p.clusters.Warming(r.Name) == nil {
			f.before = f.now
		}
	}
}

// settled notes what has become of an update, and of what was refused before.
func (p *Proxy) settled(u *fetch.Update, whole bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := &p.fetching.dynamic
	if whole {
		d.versions[u.Kind] = u.Version
	}
	for _, r := range u.Put {
		if f := d.states[refusal{u.Kind, r.Name}]; f != nil {
			p.settle(refusal{u.Kind, r.Name}, f, r.Message)
		}
	}
	for key := range d.bad {
		if f := d.states[key]; p.refused[key] == nil {
			p.settle(key, f, f.refused.Message)
		}
	}
}

func (p *Proxy) settle(key refusal, f *fetched, m proto.Message) {
	if err := xds.Err(p.refused[key]); err != nil {
		p.fetching.dynamic.bad[key] = true
		f.refused = &resource.Refused{Message: m, Version: f.tried.version, At: f.tried.at, Err: err}
		return
	}
	f.refused = nil
	delete(p.fetching.dynamic.bad, key)
	if f.now.message == nil || !proto.Equal(f.now.message, m) {
		f.now = stamped{m, f.tried}
	}
}

// isStatic reports whether a resource is the bootstrap's own.
func (p *Proxy) isStatic(kind xds.Kind, name string) bool {
	own := false
	switch kind {
	case xds.KindListener:
		_, own = p.fetching.static.Listeners().Get(name)
	case xds.KindCluster:
		_, own = p.fetching.static.Clusters().Get(name)
	default:
		// The others are not mixed.
	}
	return own
}

func (p *Proxy) isFetched(kind xds.Kind, name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetching.dynamic.states[refusal{kind, name}] != nil
}

// stampOf is which version of a resource is being applied.
func (p *Proxy) stampOf(kind xds.Kind, name string) stamp {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.fetching.dynamic.states[refusal{kind, name}]; f != nil {
		return f.tried
	}
	return stamp{}
}
