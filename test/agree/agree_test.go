// SPDX-License-Identifier: Apache-2.0

// Package agree sees that the two houses agree: what the control plane makes of objects, whatever stands in them, is
// what proxies take. Of what they refuse, no object's status would tell.
package agree

import (
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

var (
	every  = flag.Uint("every", 12, "one place in so many is tried; 1 is all of them")
	values = flag.Bool("values", false, "try every value at a place, and not only one")
	seed   = flag.Uint64("seed", 0, "chooses places and values")
	others = flag.String("others", "", "files of objects to try instead, as a pattern")
	pairs  = flag.Duration("pairs", 3*time.Second, "how long two values at once are tried")
)

// TestHostile puts a hostile value in the place of another in the objects that translation is tested with: at a place
// of a kind one or two in each file, and in the long run others at others.
func TestHostile(t *testing.T) {
	n := uint32(*every)
	if testing.Short() {
		n *= 5
	}
	for _, file := range files(t) {
		t.Run(name(file), func(t *testing.T) {
			t.Parallel()
			c := read(t, file)
			for _, text := range c.before {
				t.Error(text)
			}
			c.places(func(p place) {
				list := hostile(p.value)
				h := fnv.New32a()
				_, _ = fmt.Fprint(h, name(file), p.path, *seed)
				at := h.Sum32()
				switch {
				case len(list) == 0 || at%n != 0:
				case *values:
					for _, v := range list {
						c.try(t, put{p, v})
					}
				default:
					c.try(t, put{p, list[int(at/n)%len(list)]})
				}
			})
		})
	}
}

// TestTwo puts hostile values in two places at once, as many as there is time for.
func TestTwo(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes its time")
	}
	all := files(t)
	each := *pairs / time.Duration(len(all))
	for _, file := range all {
		t.Run(name(file), func(t *testing.T) {
			c := read(t, file)
			var places []place
			c.places(func(p place) {
				if len(hostile(p.value)) > 0 {
					places = append(places, p)
				}
			})
			r := rand.New(rand.NewPCG(*seed, uint64(len(places))))
			for end := time.Now().Add(each); time.Now().Before(end) && !t.Failed(); {
				var puts [2]put
				for i := range puts {
					p := places[r.IntN(len(places))]
					list := hostile(p.value)
					puts[i] = put{p, list[r.IntN(len(list))]}
				}
				c.try(t, puts[:]...)
			}
		})
	}
}

// TestKinds sees that each kind of objects is among those that hostile values are put into.
func TestKinds(t *testing.T) {
	have := map[source.Kind]bool{}
	for _, file := range files(t) {
		for _, o := range read(t, file).objects {
			for _, ch := range o.changes {
				have[ch.Key.Kind] = true
			}
		}
	}
	for _, k := range source.Types() {
		if !have[k.Kind] {
			t.Errorf("no %s: put one into testdata", k.Kind)
		}
	}
}

// files are those whose objects are tried.
func files(t *testing.T) []string {
	t.Helper()
	var out []string
	patterns := []string{"../../control/*/*/testdata/*.txtar", "testdata/*.yaml"}
	if *others != "" {
		patterns = []string{*others}
	}
	for _, pattern := range patterns {
		list, err := filepath.Glob(pattern)
		if err != nil || len(list) == 0 {
			t.Fatal(pattern, err)
		}
		out = append(out, list...)
	}
	return out
}

// name is a file's, and that of the folder that tests with it.
func name(file string) string {
	parts := strings.Split(filepath.ToSlash(file), "/")
	return strings.Join(slices.Concat(parts[max(0, len(parts)-3):max(0, len(parts)-2)], parts[len(parts)-1:]), "/")
}
