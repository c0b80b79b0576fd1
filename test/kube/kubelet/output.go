// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// maxLines is how many lines of a container's output are kept to be asked for.
const maxLines = 100_000

// maxLine is where a line is broken that is longer, in bytes.
const maxLine = 256 << 10

// An output is what a container has written to stdout and stderr, over its restarts.
type output struct {
	file *os.File // gets all of it, for the time after the pod; nil for none

	mu      sync.Mutex
	lines   []line
	dropped int           // lines that are no longer kept
	more    chan struct{} // closed at the next line
	closed  bool
}

type line struct {
	at   time.Time
	text string
}

func newOutput(name string) *output {
	o := &output{more: make(chan struct{})}
	if f, err := os.Create(name); err == nil { // Without it the output can still be asked for.
		o.file = f
	}
	return o
}

// read takes lines from r to its end.
func (o *output) read(r io.Reader) {
	in := bufio.NewReaderSize(r, maxLine)
	for {
		text, err := in.ReadSlice('\n')
		if len(text) > 0 {
			o.add(string(text))
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

func (o *output) add(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if o.file != nil {
		fmt.Fprintf(o.file, "%s %s", now.UTC().Format("15:04:05.000"), text)
	}
	o.lines = append(o.lines, line{now, text})
	if len(o.lines) > maxLines {
		o.dropped += maxLines / 2
		o.lines = append([]line(nil), o.lines[maxLines/2:]...)
	}
	close(o.more)
	o.more = make(chan struct{})
}

// close tells that nothing will be added.
func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	close(o.more)
	if o.file != nil {
		o.file.Close()
	}
}

// A wish is what of an output is asked for.
type wish struct {
	since      time.Time // zero: all
	tail       int       // lines; negative: all
	follow     bool
	timestamps bool
}

// write writes what is asked for; flush is called before it waits for more.
func (o *output) write(ctx context.Context, w io.Writer, asked wish, flush func()) {
	next := 0
	if asked.tail >= 0 {
		o.mu.Lock()
		next = max(0, o.dropped+len(o.lines)-asked.tail)
		o.mu.Unlock()
	}
	for {
		o.mu.Lock()
		from := max(0, next-o.dropped)
		lines, more, closed := o.lines[from:len(o.lines):len(o.lines)], o.more, o.closed
		next = o.dropped + len(o.lines)
		o.mu.Unlock()
		for _, l := range lines {
			if l.at.Before(asked.since) {
				continue
			}
			text := l.text
			if asked.timestamps {
				text = l.at.UTC().Format(time.RFC3339Nano) + " " + text
			}
			if _, err := io.WriteString(w, text); err != nil {
				return
			}
		}
		if !asked.follow || closed {
			return
		}
		flush()
		select {
		case <-more:
		case <-ctx.Done():
			return
		}
	}
}
