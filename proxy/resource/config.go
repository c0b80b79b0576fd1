// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger"
	"weir.dev/weir/xds/legacy/v1"
)

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Options are how a resource is watched.
type Options struct {
	// Decode makes of a message what Changed is given, or tells what is wrong with it.
	Decode func(proto.Message) (any, error)
	// Next, if not nil, does so in place of Decode, and is given what was made of the
	// message before, nil if there is none: what has not changed may be taken from it.
	Next func(m proto.Message, before any) (any, error)
	// Members, if not nil, does so of a group in place of Next: before is what it made of the
	// members before, and put and gone are what is different now. Without before they are all
	// there is.
	Members func(put []Member, gone []string, before any) (any, error)
	// Share, if not nil, lets all watches of a resource with the same Share have what
	// the first of them decoded. Next and Members need it.
	Share any
	// Changed is told each new value, the first included, in order.
	Changed func(any)
	// Gone, if not nil, is told that the resource is no more. Without it the last value
	// stays in use, as Envoy keeps a route configuration.
	Gone func()
	// Dropped, if not nil, is told of a new value that is not used after all, as another
	// watch has refused it.
	Dropped func(any)
	// Needs, if not nil, is asked once Changed was first called: the watch is ready when
	// these are, too.
	Needs func() []*Watch
	// Refused, if not nil, is told why a new value was not taken.
	Refused func(error)
	// Late, if not nil, is told that the first value has not come in time.
	Late func()
	// Empty, if not nil, is told that an answer had nothing at all.
	Empty func()
	// Stats, if not nil, count what becomes of the resource.
	Stats *Stats
}

// Wanted is told when a resource is first watched and when it is no more. It must not
// call the directory.
type Wanted func(id ID, source *corev3.ConfigSource, wanted bool)

// topic is one resource and those who watch it.
type topic struct {
	id     ID
	source *corev3.ConfigSource // of the first watch
	// refs is how many watch it, and held whether it was set: of one that is neither
	// nothing is kept. Both are guarded by the directory's mu.
	refs int
	held bool

	mu      sync.Mutex // held while watches are told
	message xds.Packed
	version string
	updated time.Time
	refused *Refused    // the newest message, if it was
	values  map[any]any // nil if there are none
	watches []*Watch

	// members are those of a group; merging is held while they change.
	merging sync.Mutex
	members map[string]xds.Packed // guarded by mu, too; nil if none have come
	begun   bool                  // it is known what there is
}

// known tells that there is a value. It is called with mu.
func (t *topic) known() bool { return !t.message.IsZero() || t.members != nil }

// keep is how a message of the resource or group is kept. Of endpoints and virtual hosts there
// are thousands; but those of a snapshot are kept by that.
func (t *topic) keep(m proto.Message) xds.Packed {
	if t.id.Source != Snapshot && (t.id.Kind == xds.KindEndpoints || t.id.Kind == xds.KindVirtualHost) {
		return xds.Pack(m)
	}
	return xds.Keep(m)
}

// content is the message of a resource or group; nil if there is none. It is called with
// mu.
func (t *topic) content() proto.Message {
	if t.members == nil {
		return t.message.Message()
	}
	return container(t.id, inOrder(t.members))
}

// OnWanted has f told of each resource that is watched or no more, those watched
// already included.
func (d *Directory) OnWanted(f Wanted) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = f
	for id, t := range d.topics {
		if t.refs > 0 {
			f(id, t.source, true)
		}
	}
}

// Key names the place that a config source points to: two that point to the same place
// have the same key. No config source is the snapshot. The error tells a source that
// cannot be used.
func (d *Directory) Key(cs *corev3.ConfigSource) (string, error) {
	if cs == nil {
		return Snapshot, nil
	}
	if err := supported.Apply(cs, "", func(string, string) {}); err != nil {
		return "", err
	}
	if cs.GetResourceApiVersion() == corev3.ApiVersion_V2 { //nolint:staticcheck // Deprecated, still found.
		return "", errors.New("resource_api_version: V2 is no more: use V3")
	}
	switch s := cs.GetConfigSourceSpecifier().(type) {
	case *corev3.ConfigSource_Ads, *corev3.ConfigSource_Self:
		if !d.Aggregated {
			return Snapshot, nil
		}
		return ADS, nil
	case *corev3.ConfigSource_Path: //nolint:staticcheck // Deprecated, still found.
		return "path:" + s.Path, nil
	case *corev3.ConfigSource_PathConfigSource:
		return "path:" + s.PathConfigSource.GetPath(), nil
	case *corev3.ConfigSource_ApiConfigSource:
		if s.ApiConfigSource.GetTransportApiVersion() == corev3.ApiVersion_V2 { //nolint:staticcheck // Deprecated, still found.
			return "", errors.New("api_config_source.transport_api_version: the v2 transport is no more: use V3")
		}
		if err := asks(s.ApiConfigSource); err != nil {
			return "", fmt.Errorf("api_config_source.%w", err)
		}
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(s.ApiConfigSource)
		if err != nil {
			return "", err
		}
		sum := sha256.Sum256(b)
		return "api:" + hex.EncodeToString(sum[:8]), nil
	}
	return "", errors.New("says nothing: set one of ads, api_config_source and path_config_source")
}

// asks tells what a source lacks to ask anybody.
func asks(a *corev3.ApiConfigSource) error {
	if _, err := v1.ContextOf(a); err != nil {
		return err
	}
	switch a.GetApiType() {
	case corev3.ApiConfigSource_DEPRECATED_AND_UNAVAILABLE_DO_NOT_USE: //nolint:staticcheck // That is the point.
		return errors.New("api_type: is missing: write GRPC, DELTA_GRPC or REST")
	case corev3.ApiConfigSource_REST:
		if len(a.GetClusterNames()) == 0 {
			return errors.New("cluster_names: is empty: name the cluster of the management server")
		}
	default:
		if len(a.GetGrpcServices())+len(a.GetClusterNames()) == 0 {
			return errors.New("grpc_services: is empty: name the management server by envoy_grpc or google_grpc")
		}
	}
	return nil
}

// initialFetchTimeout is Envoy's default.
const initialFetchTimeout = 15 * time.Second

// Watch begins to watch a resource of a config source. If it is there already, Changed
// is called before Watch returns.
func (d *Directory) Watch(cs *corev3.ConfigSource, kind xds.Kind, name string, o Options) (*Watch, error) {
	cs, name, err := d.Locate(cs, kind, name)
	if err != nil {
		return nil, err
	}
	return d.watch(cs, kind, name, o)
}

// WatchCollection begins to watch all resources of a collection, which are used together.
func (d *Directory) WatchCollection(cs *corev3.ConfigSource, kind xds.Kind, locator string, o Options) (*Watch, error) {
	cs, name, err := d.Collection(cs, kind, locator)
	if err != nil {
		return nil, err
	}
	return d.watch(cs, kind, name, o)
}

func (d *Directory) watch(cs *corev3.ConfigSource, kind xds.Kind, name string, o Options) (*Watch, error) {
	key, err := d.Key(cs)
	if err != nil {
		return nil, err
	}
	w := &Watch{d: d, o: o, ready: make(chan struct{})}
	w.t = d.acquire(ID{key, kind, name}, cs)
	t := w.t
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watches = append(t.watches, w)
	d.serve(w, cs)
	if t.members == nil && key == Snapshot && grouped(kind) {
		t.members = map[string]xds.Packed{} // What a snapshot does not have does not come later.
	}
	if !t.known() {
		w.limit(cs)
		return w, nil
	}
	v, err := t.value(w, func() (any, error) {
		if t.members != nil {
			return w.decodeGroup(t.id, inOrder(t.members), t.values[o.Share])
		}
		return w.decode(t.message.Message(), t.values)
	})
	if err != nil {
		w.refuse(err)
		d.report(t.id, err)
		return w, nil
	}
	w.tell(v, t.version, time.Now())
	w.setReady()
	return w, nil
}

// limit bounds how long the first value is waited for.
func (w *Watch) limit(cs *corev3.ConfigSource) {
	wait := initialFetchTimeout
	if t := cs.GetInitialFetchTimeout(); t != nil {
		wait = t.AsDuration()
	}
	if wait <= 0 {
		return
	}
	w.timer = time.AfterFunc(wait, func() {
		w.t.mu.Lock()
		defer w.t.mu.Unlock()
		select {
		case <-w.ready:
			return
		default:
		}
		w.o.Stats.Late()
		if w.o.Late != nil {
			w.o.Late()
		}
		w.d.log.Warn("a resource has not come in time: what waited for it goes on without it",
			"kind", w.t.id.Kind, "name", w.t.id.Name, "source", w.t.id.Source, "initial_fetch_timeout", wait)
		w.setReady()
	})
}

func (d *Directory) report(id ID, err error) {
	d.log.Error("a resource cannot be used", "kind", id.Kind, "name", id.Name, "error", err)
	d.mu.Lock()
	defer d.mu.Unlock()
	const most = 1000 // Nobody may be taking them.
	if len(d.problems) < most {
		d.problems = append(d.problems, xds.Problem{Severity: xds.Error, Kind: id.Kind, Name: id.Name, Reason: err.Error()})
	}
}

// acquire returns the topic of a resource and holds it.
func (d *Directory) acquire(id ID, cs *corev3.ConfigSource) *topic {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.topic(id)
	if t.refs++; t.refs == 1 {
		t.source = cs
		if d.wanted != nil && !d.closed {
			d.wanted(id, cs, true)
		}
	}
	return t
}

func (d *Directory) topic(id ID) *topic {
	t := d.topics[id]
	if t == nil {
		t = &topic{id: id}
		d.topics[id] = t
	}
	return t
}

// Set makes a message the resource's value and tells all who watch it. An error tells
// why one of them cannot use it: then none has it, and the value before stays. The
// version is for people.
func (d *Directory) Set(id ID, m proto.Message, version string) error {
	d.mu.Lock()
	t := d.topic(id)
	t.held = true
	d.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := t.keep(m)
	if t.message.Equal(kept) {
		t.version, t.refused = version, nil
		t.each(func(w *Watch) {
			w.o.Stats.Accepted(version, 0)
			w.setReady()
		})
		return nil
	}
	began := time.Now()
	err := t.replace(began, version, func(w *Watch, before map[any]any) (any, error) {
		return t.value(w, func() (any, error) { return w.decode(m, before) })
	})
	if err != nil {
		t.refused = &Refused{m, version, began, err}
		return err
	}
	t.message, t.version, t.updated, t.refused = kept, version, began, nil
	return nil
}

// replace gives all watches of a topic a new value, each what decode makes for it: all, or
// none if one of them cannot use it.
func (t *topic) replace(began time.Time, version string, decode func(w *Watch, before map[any]any) (any, error)) error {
	before := t.values
	t.values = nil
	decoded := make([]any, 0, len(t.watches))
	for _, w := range t.watches {
		v, err := decode(w, before)
		if err == nil {
			decoded = append(decoded, v)
			continue
		}
		for i, v := range decoded {
			if w := t.watches[i]; w.o.Dropped != nil {
				w.o.Dropped(v)
			}
		}
		t.values = before
		t.each(func(w *Watch) { w.refuse(err) })
		return err // They all say the same.
	}
	for i, w := range t.watches {
		w.tell(decoded[i], version, began)
		w.setReady()
	}
	return nil
}

// Remove takes a resource away, or tells that there is none.
func (d *Directory) Remove(id ID) {
	d.mu.Lock()
	t := d.topics[id]
	if t == nil {
		d.mu.Unlock()
		return
	}
	if t.held = false; t.refs == 0 {
		delete(d.topics, id)
	}
	d.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	had := t.known()
	t.message, t.members, t.version, t.refused = xds.Packed{}, nil, "", nil
	clear(t.values)
	t.each(func(w *Watch) {
		if had && w.o.Gone != nil {
			w.o.Gone()
		}
		w.setReady()
	})
}

// Forget drops a resource that whoever sets it has stopped to ask for, unless it is
// watched again.
func (d *Directory) Forget(id ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.topics[id]
	if t == nil {
		return
	}
	if t.held = false; t.refs == 0 {
		delete(d.topics, id)
	}
}

// Failed tells those who watch that the resource could not be asked for.
func (d *Directory) Failed(id ID) {
	d.mu.Lock()
	t := d.topics[id]
	d.mu.Unlock()
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.each(func(w *Watch) { w.o.Stats.Failed() })
}

// forgetValue drops what watches of a Share have in common when there is none of them left.
func (t *topic) forgetValue(share any) {
	for _, w := range t.watches {
		if w.o.Share == share {
			return
		}
	}
	delete(t.values, share)
}

func (t *topic) each(f func(*Watch)) {
	for _, w := range t.watches {
		f(w)
	}
}

// value is what decode makes for a watch, or has made for another of the same Share.
func (t *topic) value(w *Watch, decode func() (any, error)) (any, error) {
	if w.o.Share == nil {
		return decode()
	}
	if v, ok := t.values[w.o.Share]; ok {
		return v, nil
	}
	v, err := decode()
	if err == nil {
		if t.values == nil {
			t.values = map[any]any{}
		}
		t.values[w.o.Share] = v
	}
	return v, err
}

// decode makes the value of a message; before are those of the message before.
func (w *Watch) decode(m proto.Message, before map[any]any) (any, error) {
	if w.o.Next != nil && w.o.Share != nil {
		return w.o.Next(m, before[w.o.Share])
	}
	return w.o.Decode(m)
}

func (w *Watch) tell(v any, version string, began time.Time) {
	w.o.Changed(v)
	w.o.Stats.Accepted(version, time.Since(began))
}

func (w *Watch) refuse(err error) {
	w.o.Stats.Rejected()
	if w.o.Refused != nil {
		w.o.Refused(err)
	}
	w.setReady()
}

// A Resource is one that is there, for a listing.
type Resource struct {
	ID      ID
	Message proto.Message // nil if none has come
	Version string
	Updated time.Time
	// Refused is the newest message, if it was not taken.
	Refused *Refused
	// Watched tells that something in the proxy uses it.
	Watched bool
}

// Refused is a message that was not taken, and why.
type Refused struct {
	Message proto.Message
	Version string
	At      time.Time
	Err     error
}

// List returns the resources of one kind, from all sources, in the order of their names.
func (d *Directory) List(kind xds.Kind) []Resource {
	var topics []*topic
	var out []Resource
	d.mu.Lock()
	for id, t := range d.topics {
		if id.Kind == kind {
			topics = append(topics, t)
			out = append(out, Resource{ID: id, Watched: t.refs > 0})
		}
	}
	d.mu.Unlock()
	for i, t := range topics {
		t.mu.Lock()
		out[i].Message, out[i].Version, out[i].Updated, out[i].Refused = t.content(), t.version, t.updated, t.refused
		t.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b Resource) int {
		return cmp.Or(strings.Compare(a.ID.Name, b.ID.Name), strings.Compare(a.ID.Source, b.ID.Source))
	})
	return out
}
