// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/load"
)

// lookEvery is how often a file is looked at, unless poll_interval says otherwise. A
// look is one stat: it sees files that were written or moved into place, and links
// that lead elsewhere, as those of a Kubernetes volume.
const lookEvery = 250 * time.Millisecond

// maxFile bounds a file, in bytes.
const maxFile = 256 << 20

// mark tells one state of a file from another.
type mark struct {
	path  string // with all links followed
	size  int64
	mtime time.Time
	info  os.FileInfo
}

func markOf(path string) (mark, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return mark{}, err
	}
	i, err := os.Stat(real)
	if err != nil {
		return mark{}, err
	}
	if !i.Mode().IsRegular() {
		return mark{}, fmt.Errorf("%s is not a file", path)
	}
	return mark{real, i.Size(), i.ModTime(), i}, nil
}

func (m mark) same(o mark) bool {
	return m.info != nil && o.info != nil && m.path == o.path && m.size == o.size && m.mtime.Equal(o.mtime) && os.SameFile(m.info, o.info)
}

// watchFile gives what a file has whenever that, or what is wanted of it, has changed.
func (s *source) watchFile(ctx context.Context) {
	path := s.cs.GetPathConfigSource().GetPath()
	if p := s.cs.GetPath(); p != "" { //nolint:staticcheck // Deprecated, still found.
		path = p
	}
	every := lookEvery
	if d := s.cs.GetPathConfigSource().GetPollInterval(); d != nil && d.AsDuration() > 0 {
		every = d.AsDuration()
	}
	f := &file{s: s, path: path, m: newMux(s, nil, nil)}
	defer f.m.close()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		f.look()
		select {
		case <-tick.C:
		case <-s.wake:
		case <-ctx.Done():
			return
		}
	}
}

type file struct {
	s     *source
	path  string
	m     *mux
	seen  mark
	names []string // wanted when it was read
	lost  bool
}

func (f *file) look() {
	var names []string
	for _, kind := range f.s.c.order {
		for _, n := range f.s.names(kind) {
			names = append(names, string(kind)+"\x00"+n)
		}
	}
	if len(names)+len(f.names) == 0 {
		return
	}
	now, err := markOf(f.path)
	if err != nil {
		if !f.lost {
			f.lost = true
			f.s.log.Error("a file of resources cannot be read: what it gave stays in use", "error", err)
			f.s.failed()
		}
		return
	}
	f.lost = false
	if now.same(f.seen) && slices.Equal(names, f.names) {
		return
	}
	f.seen, f.names = now, names
	if err := f.read(); err != nil {
		f.s.log.Error("a file of resources is refused: what was good stays in use", "error", err)
	}
}

func (f *file) read() error {
	h, err := os.Open(f.path)
	if err != nil {
		f.s.failed()
		return err
	}
	defer h.Close()
	data, err := io.ReadAll(io.LimitReader(h, maxFile+1))
	if err != nil {
		f.s.failed()
		return err
	}
	if len(data) > maxFile {
		f.s.failed()
		return fmt.Errorf("%s has more than %d MiB", f.path, maxFile>>20)
	}
	r, err := parseFile(f.path, data)
	if err != nil {
		f.s.failed()
		return err
	}
	return f.use(r)
}

// parseFile reads a DiscoveryResponse: of binary protobuf if the file is called .pb,
// else in YAML or JSON.
func parseFile(path string, data []byte) (*discoveryv3.DiscoveryResponse, error) {
	r := &discoveryv3.DiscoveryResponse{}
	if filepath.Ext(path) == ".pb" {
		if err := proto.Unmarshal(data, r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return r, nil
	}
	_, problems := load.Message(path, data, r, load.Options{})
	return r, xds.Err(problems)
}

// use gives each kind that is wanted what the file has of it.
func (f *file) use(r *discoveryv3.DiscoveryResponse) error {
	var errs []error
	for _, kind := range f.s.c.order {
		names := f.s.names(kind)
		if len(names) == 0 && f.m.subs[kind] == nil {
			continue
		}
		b := f.m.sub(f.s.c.types[kind])
		f.m.wanted(b, names)
		if err := f.m.useState(b, r); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.path, err))
		}
	}
	f.m.ttl.stop() // A file that does not change says that nothing does.
	return errors.Join(errs...)
}
