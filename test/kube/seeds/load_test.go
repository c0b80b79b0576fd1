// SPDX-License-Identifier: Apache-2.0

package seeds

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"weir.dev/weir/test/kube/kubetest"
)

// load is clients that ask without a pause until they are told to end. A request is not asked twice, so that one that is
// lost shows. A connection serves a hundred: one for each would have the node give out again, within the minute, ports
// that the other side still waits on, and lose the connection that gets one.
type load struct {
	stop func()
	wg   sync.WaitGroup

	mu     sync.Mutex
	got    map[string]int // answers
	failed []string
}

// begin has clients post to a URL.
func begin(t *testing.T, url string, header ...string) *load {
	ctx, stop := context.WithCancel(t.Context())
	l := &load{stop: stop, got: map[string]int{}}
	for range 4 {
		l.wg.Go(func() {
			client := newClient()
			defer client.CloseIdleConnections()
			for n := 1; ctx.Err() == nil; n++ {
				// It is asked to the end, whatever becomes of the load.
				a, err := askBy(context.WithoutCancel(ctx), client, "POST", url, "x", header...)
				if n%100 == 0 {
					client.CloseIdleConnections()
				}
				l.mu.Lock()
				switch {
				case err != nil:
					l.failed = append(l.failed, err.Error())
				case a.status != 200:
					l.failed = append(l.failed, a.String())
				default:
					l.got[answered(a)]++
				}
				l.mu.Unlock()
			}
		})
	}
	t.Cleanup(func() { stop(); l.wg.Wait() })
	return l
}

// answered says who answered: a function, or the name that a backend has.
func answered(a answer) string {
	if _, rest, ok := strings.Cut(a.body, `"name":"`); ok {
		name, _, _ := strings.Cut(rest, `"`)
		return name
	}
	return strings.TrimSpace(a.body)
}

// reset forgets what was answered.
func (l *load) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.got)
}

// splits waits until so many requests in a row have been answered in these shares, in percent, of which each may be
// off by five: the first of those that were asked before a change took effect are forgotten.
func (l *load) splits(t *testing.T, c kubetest.Cluster, shares map[string]int) {
	t.Helper()
	const many = 1000
	l.reset()
	c.Until(t, fmt.Sprintf("requests to be answered by %v", shares), func(context.Context) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		n := 0
		for _, k := range l.got {
			n += k
		}
		if n < many {
			return fmt.Errorf("%d requests so far: %v", n, l.got)
		}
		for name, k := range l.got {
			if off := 100*k/n - shares[name]; off > 5 || off < -5 || shares[name] == 0 {
				err := fmt.Errorf("of %d requests %v", n, l.got)
				clear(l.got)
				return err
			}
		}
		return nil
	})
}

// end tells what has become of the requests.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.stop()
	l.wg.Wait()
	for _, text := range l.failed[:min(len(l.failed), 20)] {
		t.Error(text)
	}
}
