// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"io"

	"golang.org/x/sys/unix"
)

// pipe carries bytes from one socket to another inside the kernel.
type pipe struct{ r, w int }

const pipeSize = 256 << 10

func (p pipe) close() {
	closeFD(p.r)
	closeFD(p.w)
}

func (l *Loop) getPipe() (pipe, error) {
	if n := len(l.pipes); n > 0 {
		p := l.pipes[n-1]
		l.pipes = l.pipes[:n-1]
		return p, nil
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		return pipe{}, err
	}
	// A smaller pipe only costs more calls.
	_, _ = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, pipeSize)
	return pipe{fds[0], fds[1]}, nil
}

// Splice moves n bytes from one connection to another without copying them
// through the process, and returns how many were delivered. io.EOF means that
// the source ended early. Each time bytes have moved, moved is told how many.
func (c *Conn) Splice(from *Conn, n int64, moved func(int)) (int64, error) {
	p, err := c.loop.getPipe()
	if err != nil {
		return 0, err
	}
	held := 0 // bytes in the pipe
	var done int64
	for done < n && err == nil {
		if held == 0 {
			held, err = from.fill(p, n-done)
			continue
		}
		var k int
		k, err = c.empty(p, held)
		held -= k
		done += int64(k)
		if k > 0 {
			moved(k)
		}
	}
	c.loop.putPipe(p, held)
	return done, err
}

// A Flow is told how bytes move from one connection to another.
type Flow interface {
	// Moved tells that n more bytes were delivered.
	Moved(n int)
	// Stalled tells that the destination takes no more for now, or takes more
	// again.
	Stalled(on bool)
}

// SpliceReady moves what can be read from a connection to c without copying it
// through the process. It returns once the source has nothing more to read at
// the moment, or has ended (io.EOF in read), or either side fails: what went
// wrong with reading and with writing is told apart. It waits for the
// destination to take what was read, never for the source.
func (c *Conn) SpliceReady(from *Conn, f Flow) (read, write error) {
	p, err := c.loop.getPipe()
	if err != nil {
		return err, nil
	}
	held := 0 // bytes in the pipe
	for read == nil && write == nil && (held > 0 || from.readable) {
		if held == 0 {
			held, read = from.fill(p, pipeSize)
			continue
		}
		stalled := !c.writable && c.failed() == nil
		if stalled {
			f.Stalled(true)
		}
		var k int
		k, write = c.empty(p, held)
		if stalled {
			f.Stalled(false)
		}
		held -= k
		if k > 0 {
			f.Moved(k)
		}
	}
	c.loop.putPipe(p, held)
	return read, write
}

// putPipe keeps an empty pipe for the next.
func (l *Loop) putPipe(p pipe, held int) {
	if held == 0 && len(l.pipes) < maxFreePipes {
		l.pipes = append(l.pipes, p)
	} else {
		p.close()
	}
}

// maxFreePipes bounds the pipes kept for reuse.
const maxFreePipes = 64

// fill moves up to n bytes from the socket into the pipe.
func (c *Conn) fill(p pipe, n int64) (int, error) {
	if err := c.awaitRead(); err != nil {
		return 0, err
	}
	k, e := splice(int(c.fd), p.w, int(min(n, pipeSize)))
	switch {
	case e == unix.EAGAIN:
		c.readable = c.hup
		return 0, nil
	case e == unix.EINTR:
		return 0, nil
	case e != 0:
		return 0, e
	case k == 0:
		return 0, io.EOF
	}
	c.Received += uint64(k)
	return k, nil
}

// empty moves up to n bytes from the pipe into the socket.
func (c *Conn) empty(p pipe, n int) (int, error) {
	if err := c.awaitWrite(); err != nil {
		return 0, err
	}
	k, e := splice(p.r, int(c.fd), n)
	return k, c.wrote(&k, e)
}
