// SPDX-License-Identifier: Apache-2.0

package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"weir.dev/weir/control/source"
	"weir.dev/weir/xds"
)

// A Source is the objects of files and folders as these change. It is for one
// goroutine.
type Source struct {
	reader *Reader
	paths  []string
	skip   func(path string, data []byte) bool
	files  map[string]*known
	order  []string
	now    map[source.Key]Object
}

// known is a file as it was read last.
type known struct {
	stamp   stamp
	objects []Object
}

// stamp tells whether a file is another, without reading it.
type stamp struct {
	size     int64
	modified time.Time
	mode     fs.FileMode
}

// NewSource returns a Source of files and folders, without those files that skip
// says are not its matter; nil skips none.
func NewSource(r *Reader, skip func(path string, data []byte) bool, paths ...string) *Source {
	return &Source{reader: r, skip: skip, paths: paths, files: map[string]*known{}, now: map[source.Key]Object{}}
}

// Poll returns what has changed since the last call, and what is wrong with what was
// read anew. A file with problems keeps the objects that it had, but for those that
// it gives now. The error is that the paths cannot be listed.
func (s *Source) Poll() ([]source.Change, []xds.Problem, error) {
	files, err := Files(s.paths...)
	if err != nil {
		return nil, nil, err
	}
	var problems []xds.Problem
	present := map[string]bool{}
	changed := false
	for _, path := range files {
		present[path] = true
		more, fresh := s.read(path)
		problems = append(problems, more...)
		changed = changed || fresh
	}
	for path := range s.files {
		if !present[path] {
			delete(s.files, path)
			changed = true
		}
	}
	s.order = files
	if !changed {
		return nil, problems, nil
	}
	changes, more := s.diff()
	return changes, append(problems, more...), nil
}

// read reads a file if it is another than before.
func (s *Source) read(path string) (problems []xds.Problem, fresh bool) {
	info, err := os.Stat(path)
	if err != nil {
		// It went between listing and now; the next Poll does not find it.
		return nil, false
	}
	st := stamp{info.Size(), info.ModTime(), info.Mode()}
	old := s.files[path]
	if old != nil && old.stamp == st {
		return nil, false
	}
	data, err := Read(path)
	if err != nil {
		if old != nil {
			old.stamp = st // Told once.
		}
		return []xds.Problem{{File: path, Reason: err.Error()}}, false
	}
	if s.skip != nil && s.skip(path, data) {
		s.files[path] = &known{stamp: st}
		return nil, old != nil
	}
	objects, problems := s.reader.Parse(path, data)
	if old != nil && xds.HasErrors(problems) {
		objects = keep(objects, old.objects)
	}
	s.files[path] = &known{st, objects}
	return problems, true
}

// keep returns now and those of old that it lacks.
func keep(now, old []Object) []Object {
	have := map[source.Key]bool{}
	for _, o := range now {
		have[o.Key] = true
	}
	for _, o := range old {
		if !have[o.Key] {
			now = append(now, o)
		}
	}
	return now
}

// diff returns what is other than what was told last.
func (s *Source) diff() ([]source.Change, []xds.Problem) {
	next := map[source.Key]Object{}
	var out []source.Change
	var problems []xds.Problem
	for _, path := range s.order {
		f := s.files[path]
		if f == nil {
			continue
		}
		for _, o := range f.objects {
			if first, ok := next[o.Key]; ok {
				problems = append(problems, xds.Problem{
					Kind: xds.Kind(o.Key.Kind.Kind), Name: o.Key.Name.String(), File: path, Line: o.Place.Line,
					Reason: fmt.Sprintf("stands twice: it is in %s:%d already, which is taken", first.Place.File, first.Place.Line),
				})
				continue
			}
			next[o.Key] = o
			if old, ok := s.now[o.Key]; !ok || old.Object != o.Object {
				if ok {
					o.Object.SetGeneration(old.Object.GetGeneration() + 1)
				}
				out = append(out, source.Change{Key: o.Key, Object: o.Object, Place: o.Place})
			}
		}
	}
	for key := range s.now {
		if _, ok := next[key]; !ok {
			out = append(out, source.Change{Key: key})
		}
	}
	s.now = next
	return out, problems
}

// Interval is how often files are looked at, and slowest how often at least, if they are so many that looking at them takes
// a good part of a core otherwise.
const (
	Interval = 500 * time.Millisecond
	slowest  = 5 * time.Second
)

// pause is how long to wait after a look that took so long: looking takes a fiftieth of the time at most, until the wait is
// the longest there is.
func pause(took time.Duration) time.Duration { return min(max(Interval, 50*took), slowest) }

// Watch polls until ctx ends. told gets what is wrong.
func (s *Source) Watch(ctx context.Context, q *source.Queue, told func(error)) {
	t := time.NewTimer(Interval)
	defer t.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		began := time.Now()
		changes, problems, err := s.Poll()
		t.Reset(pause(time.Since(began)))
		if len(changes) > 0 {
			q.Put(changes...)
		}
		for _, p := range problems {
			told(p)
		}
		// A folder that is gone stays gone; that is told once.
		switch {
		case err == nil:
			last = ""
		case err.Error() != last:
			last = err.Error()
			told(errors.Join(err, errors.New("what was read before goes on being served")))
		}
	}
}
