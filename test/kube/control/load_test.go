// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// load is clients that ask without a pause, each in another way, until they are told to end.
type load struct {
	stop func()
	wg   sync.WaitGroup

	mu     sync.Mutex
	asked  int
	failed []string
}

// begin has clients ask a URL: on connections that they keep, of which one asks what must not be asked twice, so that
// nobody does so behind its back, and on a connection for each request.
func begin(t *testing.T, url string) *load {
	ctx, stop := context.WithCancel(t.Context())
	l := &load{stop: stop}
	for _, client := range []struct {
		method string
		keep   bool
	}{{http.MethodPost, true}, {http.MethodGet, true}, {http.MethodGet, false}, {http.MethodPost, false}} {
		l.wg.Go(func() { l.ask(ctx, client.method, url, client.keep) })
	}
	t.Cleanup(func() { stop(); l.wg.Wait() })
	return l
}

func (l *load) ask(ctx context.Context, method, url string, keep bool) {
	transport := &http.Transport{DisableKeepAlives: !keep}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := once(client, method, url); err != nil {
			l.note(fmt.Sprintf("%s, kept %v: %v", method, keep, err))
		} else {
			l.note("")
		}
	}
}

// once asks once, to the end, whatever becomes of the load.
func once(client *http.Client, method, url string) error {
	req, err := http.NewRequest(method, url, strings.NewReader("x"))
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", resp.Status)
	}
	return nil
}

func (l *load) note(failed string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	if failed != "" {
		l.failed = append(l.failed, time.Now().Format("15:04:05.000 ")+failed)
	}
}

// total is how many requests there have been.
func (l *load) total() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

// end tells what has become of the requests.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.stop()
	l.wg.Wait()
	t.Logf("RESULT %d requests, of which %d failed", l.asked, len(l.failed))
	for i, text := range l.failed {
		if i == 20 {
			break
		}
		t.Error(text)
	}
	if l.asked == 0 {
		t.Error("nothing was asked")
	}
}
