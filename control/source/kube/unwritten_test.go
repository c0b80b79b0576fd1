// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"weir.dev/weir/control/source"
)

// However many statuses a cluster refuses and however long, the log stays short.
func TestUnwritten(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	f := newUnwritten(slog.New(slog.NewTextHandler(&out, nil)), func() time.Time { return now })
	key := func(i int) source.Key {
		return source.Key{Kind: source.Gateway, Name: source.Name{Namespace: "a", Name: fmt.Sprint(i)}}
	}
	gateways := schema.GroupResource{Resource: "gateways"}
	forbidden := apierrors.NewForbidden(gateways, "x", errors.New("no right"))
	same := func(err error) error { return err }
	for range 60 {
		for i := range 100 {
			f.note(key(i), gateways, forbidden, same)
		}
		now = now.Add(time.Minute)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if n := len(lines); n < 5 || n > 15 {
		t.Errorf("6000 failures in an hour are %d lines", n)
	}
	if !strings.Contains(lines[0], "objects=1 failures=1") || !strings.Contains(lines[2], "objects=100 failures=201") {
		t.Errorf("lines do not count:\n%s\n%s", lines[0], lines[2])
	}
	out.Reset()
	for i := range 99 {
		f.over(key(i))
	}
	if out.Len() > 0 {
		t.Errorf("one still cannot be written: %s", out.String())
	}
	f.over(key(99))
	f.over(key(99))
	if got := out.String(); strings.Count(got, "written again") != 1 || !strings.Contains(got, "failures=6000") {
		t.Errorf("got %q", got)
	}
}

func TestUnwrittenWaits(t *testing.T) {
	f := newUnwritten(slog.New(slog.DiscardHandler), time.Now)
	key := source.Key{Kind: source.Gateway, Name: source.Name{Name: "a"}}
	same := func(err error) error { return err }
	refused, busy := errors.New("refused"), apierrors.NewTooManyRequests("busy", 1)
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		if got := f.note(key, schema.GroupResource{}, refused, same); got != want*time.Second {
			t.Errorf("try %d waits for %s", i, got)
		}
	}
	if got := f.note(key, schema.GroupResource{}, busy, same); got != time.Second {
		t.Errorf("after another error it waits for %s", got)
	}
	if len(f.by) != 1 {
		t.Errorf("an object has %d causes", len(f.by))
	}
}

// A kind that has another name by now is two resources, with a right each: that one is lacking does not hide the other.
func TestUnwrittenOfFormerKinds(t *testing.T) {
	var out bytes.Buffer
	f := newUnwritten(slog.New(slog.NewTextHandler(&out, nil)), func() time.Time { return time.Unix(0, 0) })
	for _, resource := range []string{"xlistenersets", "listenersets"} {
		of := schema.GroupResource{Resource: resource}
		key := source.Key{Kind: source.ListenerSet, Name: source.Name{Namespace: "a", Name: "of-" + resource}}
		f.note(key, of, apierrors.NewForbidden(of, "x", errors.New("no right")), func(err error) error { return err })
	}
	if got := out.String(); strings.Count(got, "cannot be written") != 2 {
		t.Errorf("the log has\n%s", got)
	}
}
