// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"slices"
	"time"

	"weir.dev/weir/control"
	"weir.dev/weir/control/offline"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
	"weir.dev/weir/xds"
)

// An Item is an object, what became of it, and what it came to.
type Item struct {
	Key source.Key
	// Object as it was read; nil if only its name is known.
	Object source.Object
	Place  source.Place
	// Status says what became of it; nil if it has none.
	Status *status.Update
	// Unwritten tells that the cluster has no status of ours at the object.
	Unwritten bool
	Problems  []xds.Problem
	// from is what all objects came to.
	from *whole
}

// Became returns what it came to in Envoy's terms.
func (i *Item) Became() *xds.Snapshot { return i.from.part(i.Key, i.Object) }

// A Picture is all that there is to tell.
type Picture struct {
	Items []Item
	// Loose are problems of no object, such as a file that cannot be read, or of a resource that the proxy refuses.
	Loose []xds.Problem
	// Resources are Envoy's, of all objects together.
	Resources *xds.Snapshot
}

// Files returns what files and folders hold.
func Files(o control.Options, paths ...string) (*Picture, error) {
	w, err := offline.Read(o, paths...)
	if err != nil {
		return nil, err
	}
	return picture(w, o, false), nil
}

// Objects returns what objects of a cluster come to; their statuses are those that the cluster has.
func Objects(o control.Options, objects []source.Change) *Picture {
	w := offline.New(o)
	w.Apply(append(slices.Clip(objects), source.Tick(time.Now()))...)
	return picture(w, o, true)
}

func picture(w *offline.World, o control.Options, cluster bool) *Picture {
	out := &Picture{Resources: w.Snapshot(), Loose: w.Unread()}
	all := newWhole(out.Resources)
	statuses := map[source.Key]*status.Update{}
	for _, u := range w.Statuses() {
		statuses[u.Key] = u
	}
	for _, t := range source.Types() {
		for _, name := range w.View().Names(t.Kind) {
			key := source.Key{Kind: t.Kind, Name: name}
			item := Item{Key: key, Object: w.View().Get(key), Place: w.View().Place(key), Status: statuses[key], from: all}
			if u := item.Status; u != nil {
				item.Problems = offline.Problems(w.View(), u)
				if cluster {
					item.asWritten(o.ControllerName())
				}
			}
			out.Items = append(out.Items, item)
		}
	}
	return out
}

// asWritten gives an item the status that its object has in the cluster.
func (i *Item) asWritten(controller string) {
	if ours := status.Ours(i.Object, controller); ours != nil {
		i.Status = &status.Update{Key: i.Key, Status: ours}
	} else {
		i.Unwritten = true
	}
}

// Select returns the items that one of the selectors chooses, in their order; without any, all that have a status.
func (p *Picture) Select(selectors []Selector) []Item {
	return slices.DeleteFunc(slices.Clone(p.Items), func(i Item) bool {
		if len(selectors) == 0 {
			return i.Status == nil
		}
		return !slices.ContainsFunc(selectors, func(s Selector) bool { return s.object(i.Key) })
	})
}

// Has reports whether selectors choose anything.
func (p *Picture) Has(selectors []Selector) bool {
	r := Only(p.Resources, selectors)
	return len(p.Select(selectors)) > 0 || r.Listeners().Len()+r.Routes().Len()+r.Clusters().Len()+r.Endpoints().Len() > 0
}
