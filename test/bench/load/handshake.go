// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// handshakes opens a connection, shakes hands in full and sends one request, over and over, in spec.Conns goroutines.
// A connection that resumed a session would be an error, so what is answered is as many full handshakes.
func handshakes(spec Spec, hooks Hooks) (Result, error) {
	if len(spec.Cert) == 0 {
		return Result{}, fmt.Errorf("handshakes need the certificate that the server shows")
	}
	addr, err := netip.ParseAddrPort(spec.Addr)
	if err != nil {
		return Result{}, fmt.Errorf("load address: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), spec.Warmup+spec.Measure+handshakeLimit*time.Millisecond)
	defer cancel()
	h := &shaker{spec: spec, config: clientTLS(spec, "http/1.1"), addr: net.TCPAddrFromAddrPort(addr)}
	stop := make(chan struct{})
	var all sync.WaitGroup
	for i := range spec.Conns {
		all.Go(func() { h.run(ctx, i, stop) })
	}
	err = h.measure(spec, hooks)
	close(stop)
	all.Wait()
	if err == nil {
		err = h.err
	}
	return h.counted, err
}

// A shaker counts what its goroutines do.
type shaker struct {
	spec   Spec
	config *tls.Config
	addr   *net.TCPAddr

	mu sync.Mutex
	// res is still growing, counted what it was at the end of the measurement.
	res, counted Result
	err          error
}

func (h *shaker) measure(spec Spec, hooks Hooks) error {
	time.Sleep(spec.Warmup)
	h.mu.Lock()
	h.res.Answered, h.res.Bytes = 0, 0
	err := call(hooks.Start)
	start := time.Now()
	h.mu.Unlock()
	if err != nil {
		return err
	}
	time.Sleep(spec.Measure)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counted = h.res
	h.counted.Wall = time.Since(start)
	return call(hooks.End)
}

func (h *shaker) run(ctx context.Context, worker int, stop <-chan struct{}) {
	request := []byte("GET " + h.spec.Path + " HTTP/1.1\r\nHost: " + h.spec.Host + "\r\nUser-Agent: weir-bench\r\nAccept: */*\r\n\r\n")
	buf := make([]byte, 2<<10)
	for i := worker; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		status, length, err := h.once(ctx, i, request, buf)
		if !h.count(status, length, err) {
			return
		}
	}
}

// count counts one connection and says whether the run goes on.
func (h *shaker) count(status, length int, err error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET):
		h.res.Broken++
	case err != nil:
		h.err = err
	case status != 200:
		h.res.BadStatus++
	case length != h.spec.Length:
		h.res.BadLength++
	default:
		h.res.Answered++
		h.res.Bytes += uint64(length)
	}
	return h.err == nil && h.res.Wrong() <= wrongLimit
}

// once does one handshake and one request.
func (h *shaker) once(ctx context.Context, i int, request, buf []byte) (status, length int, err error) {
	d := net.Dialer{
		LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%sources))},
		Control: func(_, _ string, c syscall.RawConn) error {
			// The port is chosen at connect time, per destination, so that sources do not run out of ports.
			return c.Control(func(fd uintptr) {
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1) // Without it there are fewer.
			})
		},
		KeepAlive: -1,
	}
	raw, err := d.DialContext(ctx, "tcp4", h.addr.String())
	if err != nil {
		return 0, 0, fmt.Errorf("connect: %w", err)
	}
	defer raw.Close()
	deadline, _ := ctx.Deadline()
	if err := raw.SetDeadline(deadline); err != nil {
		return 0, 0, err
	}
	c := tls.Client(raw, h.config)
	if err := c.HandshakeContext(ctx); err != nil {
		return 0, 0, fmt.Errorf("shake hands: %w", err)
	}
	if _, err := c.Write(request); err != nil {
		return 0, 0, fmt.Errorf("send a request: %w", err)
	}
	n, head := 0, 0
	for head == 0 || n < head+length {
		k, err := c.Read(buf[n:])
		n += k
		if err != nil {
			return 0, 0, fmt.Errorf("read the answer: %w", err)
		}
		if head, status, length, err = parseHead(buf[:n]); err != nil {
			return 0, 0, err
		}
		if head+length > len(buf) {
			return status, length, nil // Longer than any answer that is asked for here.
		}
	}
	return status, n - head, nil
}
