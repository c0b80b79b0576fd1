// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"weir.dev/weir/xds"
)

func vhost(name, domain string) *routev3.VirtualHost {
	return &routev3.VirtualHost{Name: name, Domains: []string{domain}}
}

// domains are those of a group, in order; one called bad, or there twice, cannot be used.
func domains(m proto.Message) (any, error) {
	var out []string
	for _, v := range m.(*routev3.RouteConfiguration).GetVirtualHosts() {
		d := v.GetDomains()[0]
		if d == "bad" || slices.Contains(out, d) {
			return nil, errors.New(d + " cannot be used")
		}
		out = append(out, d)
	}
	return out, nil
}

var forever = &corev3.ConfigSource{
	ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}, InitialFetchTimeout: durationpb.New(0),
}

func TestMerge(t *testing.T) {
	d := NewDirectory(nil)
	d.Aggregated = true
	id := ID{ADS, xds.KindVirtualHost, "r"}
	var have []string
	empty := 0
	w, err := d.Watch(forever, xds.KindVirtualHost, "r", Options{Decode: domains, Changed: func(v any) { have = v.([]string) }, Empty: func() { empty++ }})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	member := func(name, domain string) Member { return Member{"r/" + name, vhost(name, domain)} }
	for _, tt := range []struct {
		name    string
		put     []Member
		gone    []string
		want    []string
		refused []string
	}{
		{"some", []Member{member("c", "3"), member("a", "1"), member("b", "2")}, nil, []string{"1", "2", "3"}, nil},
		{"one changes", []Member{member("b", "22")}, nil, []string{"1", "22", "3"}, nil},
		{"two swap", []Member{member("a", "22"), member("b", "1")}, nil, []string{"22", "1", "3"}, nil},
		{"one of many is bad", []Member{member("d", "4"), member("e", "bad"), member("f", "6"), member("g", "4")}, []string{"r/a"}, []string{"1", "3", "4", "6"}, []string{"r/e", "r/g"}},
		{"the last of a name", []Member{member("h", "7"), member("h", "8")}, []string{"r/d", "r/unknown"}, []string{"1", "3", "6", "8"}, nil},
		{"the only one is bad", []Member{member("i", "bad")}, []string{"r/h"}, []string{"1", "3", "6"}, []string{"r/i"}},
		{"nothing is said", nil, nil, []string{"1", "3", "6"}, nil},
		{"all go", nil, []string{"r/b", "r/c", "r/f"}, nil, nil},
		{"one that is not there goes", nil, []string{"r/b"}, nil, nil},
	} {
		wrong := d.Merge(id, tt.put, tt.gone, tt.name)
		var names []string
		for n := range wrong {
			names = append(names, n)
		}
		slices.Sort(names)
		if !slices.Equal(have, tt.want) || !slices.Equal(names, tt.refused) {
			t.Errorf("%s: have %v, refused %v; want %v, %v", tt.name, have, wrong, tt.want, tt.refused)
		}
	}
	if empty != 1 {
		t.Errorf("it was told %d times that the group is empty, want once", empty)
	}
}

// A list that is merged is the map that it would be, in order.
func TestMerged(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var list []Member
	want := map[string]proto.Message{}
	for range 500 {
		var put []Member
		gone := map[string]bool{}
		for range r.IntN(6) {
			m := Member{fmt.Sprint(r.IntN(40)), vhost("v", "d")}
			put = append(put, m)
		}
		for range r.IntN(6) {
			gone[fmt.Sprint(r.IntN(40))] = true
		}
		for n := range gone {
			delete(want, n)
		}
		for _, m := range put {
			want[m.Name] = m.Message
		}
		slices.SortStableFunc(put, byName)
		before := slices.Clone(list)
		next := merged(list, put, gone)
		if !slices.Equal(before, list) {
			t.Fatal("the list before has changed")
		}
		if list = next; len(list) != len(want) || !slices.IsSortedFunc(list, byName) {
			t.Fatalf("%d members in order %v, want %d", len(list), slices.IsSortedFunc(list, byName), len(want))
		}
		for _, m := range list {
			if want[m.Name] != m.Message {
				t.Fatalf("%s is another", m.Name)
			}
		}
	}
}

// A watch that needs others is ready when they are.
func TestNeeds(t *testing.T) {
	d := NewDirectory(nil)
	d.Aggregated = true
	first := func(m proto.Message) (any, error) { return m, nil }
	inner, err := d.Watch(forever, xds.KindRoutes, "inner", Options{Decode: first, Changed: func(any) {}})
	if err != nil {
		t.Fatal(err)
	}
	outer, err := d.Watch(forever, xds.KindRoutes, "outer", Options{Decode: first, Changed: func(any) {}, Needs: func() []*Watch { return []*Watch{inner} }})
	if err != nil {
		t.Fatal(err)
	}
	ready := func() bool {
		select {
		case <-outer.Ready():
			return true
		default:
			return false
		}
	}
	set := func(name string) {
		t.Helper()
		if err := d.Set(ID{ADS, xds.KindRoutes, name}, &routev3.RouteConfiguration{Name: name}, "1"); err != nil {
			t.Fatal(err)
		}
	}
	set("outer")
	if ready() {
		t.Error("ready before what it needs")
	}
	set("inner")
	if !ready() {
		t.Error("not ready")
	}
	outer.Close()
	inner.Close()
}

// What is asked for on demand is wanted until there is an answer, or nobody waits; if
// there is such a resource, as long as it is there.
func TestAsk(t *testing.T) {
	d := NewDirectory(nil)
	d.Aggregated = true
	wanted := map[string]bool{}
	d.OnWanted(func(id ID, _ *corev3.ConfigSource, on bool) { wanted[id.Name] = on })
	ask := func(name string) *Question {
		t.Helper()
		q, err := d.Ask(forever, xds.KindVirtualHost, name)
		if err != nil || q == nil {
			t.Fatal(q, err)
		}
		return q
	}
	answered := func(q *Question) bool {
		select {
		case <-q.Answered():
			return true
		default:
			return false
		}
	}
	answer := func(name string, found bool) { d.Answer(ID{ADS, xds.KindVirtualHost, name}, found) }

	a, b := ask("r/a"), ask("r/a")
	a.Close()
	a.Close()
	if !wanted["r/a"] || answered(b) {
		t.Error("one still waits")
	}
	b.Close()
	if wanted["r/a"] {
		t.Error("nobody waits, and it is wanted")
	}
	a = ask("r/a")
	answer("r/a", false)
	if !answered(a) || wanted["r/a"] {
		t.Error("there is none, and it is wanted")
	}
	a.Close()
	a = ask("r/a")
	answer("r/a", true)
	a.Close()
	if !wanted["r/a"] {
		t.Error("it is there, and its changes are not wanted")
	}
	if q := ask("r/a"); !answered(q) {
		t.Error("what is there is waited for")
	} else {
		q.Close()
	}
	w, err := d.Watch(forever, xds.KindVirtualHost, "r", Options{Decode: domains, Changed: func(any) {}})
	if err != nil {
		t.Fatal(err)
	}
	if w.Close(); wanted["r/a"] {
		t.Error("nobody watches its group, and it is wanted")
	}
	var open []*Question
	for i := range maxAsked {
		open = append(open, ask(fmt.Sprint("r/", i)))
	}
	if q, err := d.Ask(forever, xds.KindVirtualHost, "r/more"); q != nil || err != nil {
		t.Error("there is no end to what is asked for", err)
	}
	for _, q := range open {
		q.Close()
	}
	if len(d.asked) != 0 || d.askers[askers{ADS, xds.KindVirtualHost}] != 0 {
		t.Errorf("%d are asked for, counted %v", len(d.asked), d.askers)
	}
}
