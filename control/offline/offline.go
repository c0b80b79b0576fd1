// SPDX-License-Identifier: Apache-2.0

// Package offline translates files without a cluster and without a proxy: what they
// come to, and what is wrong with them, in the same words as statuses have.
package offline

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir.dev/weir/control"
	"weir.dev/weir/control/discovery"
	"weir.dev/weir/control/emit"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/source/file"
	"weir.dev/weir/control/status"
	"weir.dev/weir/xds"
)

// Address is where the proxies of all Gateways are said to be.
const Address = "127.0.0.1"

// A World is a Translator whose Gateways have proxies that acknowledge
// everything.
type World struct {
	*control.Translator
	read []xds.Problem
}

// New returns an empty World.
func New(o control.Options) *World {
	return &World{Translator: control.NewTranslator(o)}
}

// Read returns what files and folders hold. The error is that they cannot be read;
// what is wrong with their content is in Problems.
func Read(o control.Options, paths ...string) (*World, error) {
	r, err := file.New()
	if err != nil {
		return nil, err
	}
	changes, problems, err := file.NewSource(r, nil, paths...).Poll()
	if err != nil {
		return nil, err
	}
	w := Of(o, append(changes, source.Tick(time.Now()))...)
	w.read = problems
	return w, nil
}

// Of returns what objects come to.
func Of(o control.Options, objects ...source.Change) *World {
	w := New(o)
	w.Apply(objects...)
	w.Apply(w.issuers()...)
	return w
}

// issuers returns the OpenID providers that objects want asked, and nobody asks here, as if
// their endpoints were at /authorize and /token.
func (w *World) issuers() []source.Change {
	var out []source.Change
	for _, at := range slices.Sorted(maps.Keys(discovery.Wanted(w.View()))) {
		name := source.IssuerName(at)
		base := strings.TrimSuffix(at, "/")
		out = append(out, source.Change{Key: source.Key{Kind: source.Issuers, Name: name}, Object: &source.Issuer{
			ObjectMeta: metav1.ObjectMeta{Name: name.Name}, AuthorizationEndpoint: base + "/authorize", TokenEndpoint: base + "/token",
		}})
	}
	return out
}

// Apply takes changes; each new gateway gets proxies.
func (w *World) Apply(changes ...source.Change) control.Result {
	r := w.Translator.Apply(changes)
	if fleets := w.fleets(r.Gateways); len(fleets) > 0 {
		r.Statuses = append(r.Statuses, w.Translator.Apply(fleets).Statuses...)
	}
	return r
}

// fleets returns the proxies of gateways that came, and takes those of others away.
func (w *World) fleets(gateways []source.Name) []source.Change {
	var out []source.Change
	for _, name := range gateways {
		key := source.Key{Kind: source.Fleets, Name: name}
		has, wants := w.View().Get(key) != nil, w.Resources(name) != nil
		switch {
		case wants && !has:
			f := source.NewFleet(name)
			f.Addresses, f.Ready = []string{Address}, true
			out = append(out, source.Change{Key: key, Object: f})
		case has && !wants:
			out = append(out, source.Change{Key: key})
		}
	}
	return out
}

// Snapshot returns what the proxies of some Gateways need, each route configuration with
// its virtual hosts in it; of all, if none is named.
func (w *World) Snapshot(gateways ...source.Name) *xds.Snapshot {
	if len(gateways) == 0 {
		gateways = w.Gateways()
	}
	var all []*emit.Resources
	for _, name := range gateways {
		if r := w.Resources(name); r != nil {
			all = append(all, r)
		}
	}
	return xds.Whole(emit.Snapshot(nil, "1", all), nil, nil)
}

// Unread returns what is wrong with files and objects that could not be read, and so
// have no status.
func (w *World) Unread() []xds.Problem { return w.read }

// Problems returns all that is wrong, in the order of the files.
func (w *World) Problems() []xds.Problem {
	out := slices.Clone(w.read)
	for _, u := range w.Statuses() {
		out = append(out, Problems(w.View(), u)...)
	}
	xds.Sort(out)
	return out
}

// Problems returns what a status tells of, with its place in the files, each once.
func Problems(v *source.View, u *status.Update) []xds.Problem {
	var out []xds.Problem
	seen := map[string]bool{}
	place := v.Place(u.Key)
	for _, p := range u.Problems {
		pr := xds.Problem{Kind: xds.Kind(u.Key.Kind.Kind), Name: u.Key.Name.String(), Path: p.Path, Reason: p.Message}
		if p.Reason == graph.Unsupported {
			pr.Severity = xds.Warning
		}
		at := place.Origin(u.Key, p.Path)
		pr.File, pr.Line = at.File, at.Line
		if key := fmt.Sprint(pr.Path, pr.Reason); !seen[key] {
			seen[key] = true
			out = append(out, pr)
		}
	}
	return out
}
