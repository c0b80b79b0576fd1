// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the real binary as its users meet it: a process, its command line, its signals, and
// requests over real connections.
package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// load keeps connections to one address busy with requests, one after the other on each, as a well-behaved
// client does: it uses a connection until a response says "connection: close", and then opens another, as
// long as it has not been told that the address is going away.
//
// It forgives nothing: a request that was sent and did not get a whole response of status 200 has failed.
type load struct {
	address, target string
	answered        atomic.Int64
	closes          atomic.Int64 // responses that asked for the connection to be closed
	leaving         atomic.Bool  // open no new connection
	stopping        atomic.Bool  // send no new request
	workers         sync.WaitGroup

	mu       sync.Mutex
	failures []error
}

// startLoad opens the connections and begins.
func startLoad(address, target string, connections int) *load {
	l := &load{address: address, target: target}
	for range connections {
		l.workers.Go(func() {
			for !l.stopping.Load() && !l.leaving.Load() {
				if err := l.connection(); err != nil {
					l.mu.Lock()
					l.failures = append(l.failures, err)
					l.mu.Unlock()
					return
				}
			}
		})
	}
	return l
}

// connection sends requests on one connection until it has to be closed.
func (l *load) connection() error {
	c, err := net.DialTimeout("tcp", l.address, 10*time.Second)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer c.Close()
	in := bufio.NewReader(c)
	for n := 0; !l.stopping.Load(); n++ {
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nhost: shop.example\r\n\r\n", l.target); err != nil {
			return fmt.Errorf("send request %d of a connection: %w", n, err)
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return fmt.Errorf("read the response to request %d of a connection: %w", n, err)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		if err != nil {
			return fmt.Errorf("read the body of response %d of a connection: %w", n, err)
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("response %d of a connection has status %d", n, resp.StatusCode)
		}
		l.answered.Add(1)
		if resp.Close {
			l.closes.Add(1)
			return nil
		}
	}
	return nil
}

// wait waits until every connection has ended, and returns what failed.
func (l *load) wait() []error {
	l.workers.Wait()
	return l.failures
}
