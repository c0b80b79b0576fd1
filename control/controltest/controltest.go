// SPDX-License-Identifier: Apache-2.0

// Package controltest runs translation on files: its goldens hold objects, and the
// snapshots in brief and the statuses that they come to.
package controltest

import (
	"strings"
	"testing"

	"weir.dev/weir/control"
	"weir.dev/weir/control/offline"
	"weir.dev/weir/control/policy/envoygateway/install"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/source/file"
	"weir.dev/weir/control/status"
	"weir.dev/weir/internal/golden"
	"weir.dev/weir/xds/brief"
	"weir.dev/weir/xds/check"
)

// Run runs each archive that matches pattern. Its files that end in .yaml are objects;
// expected are
//
//	problems   of the objects as such, if there are any
//	xds        the snapshots of all Gateways, in brief
//	status     of all objects that are ours
//
// Gateways have proxies that acknowledge everything.
func Run(t *testing.T, pattern string) {
	t.Helper()
	golden.Run(t, pattern, func(t *testing.T, a *golden.Archive) map[string]string {
		out := map[string]string{}
		changes, problems := Parse(t, a)
		w := NewWorld(t, control.Options{Limits: &install.LimitService{}})
		w.Apply(changes...)
		if len(problems) > 0 {
			out["problems"] = strings.Join(problems, "\n") + "\n"
		}
		out["xds"], out["status"] = w.XDS(), w.Status()
		return out
	})
}

// Parse returns the objects of an archive's files, and what is wrong with them.
func Parse(t testing.TB, a *golden.Archive) ([]source.Change, []string) {
	t.Helper()
	r, err := file.New()
	if err != nil {
		t.Fatal(err)
	}
	var changes []source.Change
	var problems []string
	for _, f := range a.Files {
		if !strings.HasSuffix(f.Name, ".yaml") {
			continue
		}
		objects, bad := r.Parse(f.Name, []byte(f.Data))
		for _, p := range bad {
			problems = append(problems, p.Error())
		}
		for _, o := range objects {
			changes = append(changes, source.Change{Key: o.Key, Object: o.Object, Place: o.Place})
		}
	}
	return changes, problems
}

// Objects returns the objects of a text. It fails the test if anything is wrong with one.
func Objects(t testing.TB, text string) []source.Change {
	t.Helper()
	changes, problems := Parse(t, &golden.Archive{Files: []golden.File{{Name: "in.yaml", Data: text}}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return changes
}

// A World is an offline.World that fails its test.
type World struct {
	*offline.World
	t testing.TB
}

// NewWorld returns an empty World.
func NewWorld(t testing.TB, o control.Options) *World { return &World{offline.New(o), t} }

// XDS returns the snapshot in brief. It fails the test if the snapshot has problems.
func (w *World) XDS() string {
	w.t.Helper()
	s := w.Snapshot()
	for _, p := range check.Snapshot(s, nil) {
		w.t.Errorf("the snapshot has a problem: %v", p)
	}
	return brief.Snapshot(s)
}

// Status returns all statuses in brief.
func (w *World) Status() string {
	var b strings.Builder
	for _, u := range w.Statuses() {
		b.WriteString(status.Brief(u))
	}
	return b.String()
}
