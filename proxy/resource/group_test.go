// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"errors"
	"fmt"
	"maps"
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

// Who takes members one by one is told what has changed, and has in the end what there is;
// who comes later, too.
func TestMembers(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	d := NewDirectory(nil)
	d.Aggregated = true
	id := ID{ADS, xds.KindVirtualHost, "r"}
	given := 0
	var have map[string]string
	o := Options{
		Share: t,
		Members: func(put []Member, gone []string, before any) (any, error) {
			given += len(put) + len(gone)
			old, _ := before.(map[string]string)
			next := maps.Clone(old)
			if next == nil {
				next = map[string]string{}
			}
			for _, n := range gone {
				if _, ok := next[n]; !ok {
					t.Errorf("%s goes, and was not there", n)
				}
				delete(next, n)
			}
			for _, m := range put {
				domain := m.Message.(*routev3.VirtualHost).GetDomains()[0]
				if domain == "bad" {
					return nil, errors.New("bad")
				}
				next[m.Name] = domain
			}
			return next, nil
		},
		Changed: func(v any) { have = v.(map[string]string) },
	}
	w, err := d.Watch(forever, xds.KindVirtualHost, "r", o)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	want := map[string]string{}
	for step := range 500 {
		var put []Member
		var gone []string
		named := map[string]bool{}
		for range r.IntN(6) {
			name := fmt.Sprint("r/", r.IntN(40))
			if named[name] {
				continue
			}
			named[name] = true
			domain := fmt.Sprint(step)
			switch r.IntN(5) {
			case 0:
				gone = append(gone, name)
				delete(want, name)
				continue
			case 1:
				domain = "bad"
			default:
				want[name] = domain
			}
			put = append(put, Member{name, vhost("v", domain)})
		}
		d.Merge(id, put, gone, "1")
		if !maps.Equal(have, want) && step > 0 {
			t.Fatalf("step %d: have %v, want %v", step, have, want)
		}
	}
	if given = 0; len(d.Merge(id, []Member{{"r/new", vhost("v", "new")}}, nil, "1")) > 0 || given != 1 {
		t.Errorf("of one that came %d were given", given)
	}
	early := have
	later, err := d.Watch(forever, xds.KindVirtualHost, "r", o)
	if err != nil {
		t.Fatal(err)
	}
	defer later.Close()
	if list := d.List(xds.KindVirtualHost); !maps.Equal(have, early) || len(list[0].Message.(*routev3.RouteConfiguration).GetVirtualHosts()) != len(early) {
		t.Errorf("who comes later has %v, want %v", have, early)
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
