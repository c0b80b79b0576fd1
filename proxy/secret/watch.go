// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
	"weak"

	"golang.org/x/sys/unix"
)

// settle is how long a directory has to be quiet before its files are read: a chain
// and its key are seldom written in one step.
const settle = 50 * time.Millisecond

// watcher tells of changes in directories: files written, made or moved there, which
// covers the symbolic links by which Kubernetes swaps a volume's content.
type watcher struct {
	file *os.File
	log  *slog.Logger
	wg   sync.WaitGroup

	mu      sync.Mutex
	dirs    map[string]int32
	names   map[int32]string
	watches map[weak.Pointer[Slot]]*watch
	changed map[string]bool
	timer   *time.Timer
	closed  bool
	running sync.Mutex // held while files are read
}

type watch struct {
	dirs []string
	run  func() bool // false if the slot is gone
}

// watcher returns the store's watcher, made at first use; nil if it has none.
func (s *Store) watcher() *watcher {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle || s.closed || s.watch != nil {
		return s.watch
	}
	w, err := newWatcher(s.log)
	if err != nil {
		s.log.Error("cannot watch files: changed secrets are not noticed", "error", err)
		return nil
	}
	s.watch = w
	return w
}

func newWatcher(log *slog.Logger) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	w := &watcher{
		file: os.NewFile(uintptr(fd), "inotify"), log: log, dirs: map[string]int32{}, names: map[int32]string{},
		watches: map[weak.Pointer[Slot]]*watch{}, changed: map[string]bool{},
	}
	w.wg.Go(w.read)
	return w, nil
}

// watch has run called when something changed in one of dirs, in place of what was
// to be called for the slot before.
func (w *watcher) watch(slot *Slot, dirs []string, run func() bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := weak.Make(slot)
	if len(dirs) == 0 {
		delete(w.watches, key)
		return
	}
	for _, d := range dirs {
		if w.closed || w.dirs[d] != 0 {
			continue
		}
		wd, err := unix.InotifyAddWatch(int(w.file.Fd()), d, unix.IN_CREATE|unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO)
		if err != nil {
			w.log.Error("cannot watch a directory: changed secrets in it are not noticed", "directory", d, "error", err)
			continue
		}
		w.dirs[d], w.names[int32(wd)] = int32(wd), d
	}
	w.watches[key] = &watch{dirs, run}
}

func (w *watcher) read() {
	buf := make([]byte, 16<<10)
	for {
		n, err := w.file.Read(buf)
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				w.log.Error("watching files ended", "error", err)
			}
			return
		}
		w.note(buf[:n])
	}
}

// note marks the directories of inotify events (inotify(7)): a header of 16 bytes,
// the watch first and the length of the name last.
func (w *watcher) note(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(b) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(b))
		mask := binary.NativeEndian.Uint32(b[4:])
		n := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
		if n > len(b) {
			break
		}
		b = b[n:]
		dir := w.names[wd]
		switch {
		case mask&unix.IN_Q_OVERFLOW != 0:
			for d := range w.dirs {
				w.changed[d] = true
			}
		case mask&unix.IN_IGNORED != 0:
			delete(w.names, wd)
			delete(w.dirs, dir)
		default:
			w.changed[dir] = true
		}
	}
	if len(w.changed) == 0 || w.closed {
		return
	}
	if w.timer == nil {
		w.timer = time.AfterFunc(settle, w.run)
	} else {
		w.timer.Reset(settle)
	}
}

// run reads again what may have changed.
func (w *watcher) run() {
	w.running.Lock()
	defer w.running.Unlock()
	w.mu.Lock()
	due := map[weak.Pointer[Slot]]*watch{}
	for k, x := range w.watches {
		for _, d := range x.dirs {
			if w.changed[d] {
				due[k] = x
			}
		}
	}
	clear(w.changed)
	closed := w.closed
	w.mu.Unlock()
	for k, x := range due {
		if closed || x.run() {
			continue
		}
		w.mu.Lock()
		if w.watches[k] == x {
			delete(w.watches, k)
		}
		w.mu.Unlock()
	}
}

func (w *watcher) close() {
	w.mu.Lock()
	w.closed = true
	if w.timer != nil {
		w.timer.Stop()
	}
	w.mu.Unlock()
	if err := w.file.Close(); err != nil {
		w.log.Error("close inotify", "error", err)
	}
	w.wg.Wait()
	// What runs still runs to its end.
	w.running.Lock()
	defer w.running.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.watches)
}
