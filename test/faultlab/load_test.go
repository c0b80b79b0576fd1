// SPDX-License-Identifier: Apache-2.0

package faultlab

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A load sends requests at a steady rate, whether or not answers come. An answer is good
// if it is whole and its status is 200.
type load struct {
	t      *testing.T
	client *http.Client
	url    string
	stop   context.CancelFunc
	wait   sync.WaitGroup

	sent atomic.Int64

	mu    sync.Mutex
	bad   []string
	from  map[string]int // good answers by x-host
	times []time.Duration
}

// startLoad sends so many requests a second to a path.
func (w *weir) startLoad(perSecond int, path string) *load {
	return w.startLoadOver(http1(), perSecond, path)
}

func http1() *http.Transport {
	return &http.Transport{MaxIdleConnsPerHost: 100, IdleConnTimeout: time.Minute, DisableCompression: true}
}

// http2 speaks HTTP/2 in cleartext.
func http2() *http.Transport {
	tr := http1()
	tr.Protocols = new(http.Protocols)
	tr.Protocols.SetUnencryptedHTTP2(true)
	return tr
}

func (w *weir) startLoadOver(tr *http.Transport, perSecond int, path string) *load {
	l := w.client(tr, path)
	var ctx context.Context
	ctx, l.stop = context.WithCancel(context.Background())
	l.wait.Go(func() {
		every := time.NewTicker(time.Second / time.Duration(perSecond))
		defer every.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-every.C:
				l.sent.Add(1)
				l.wait.Go(l.request)
			}
		}
	})
	w.t.Cleanup(func() {
		l.end()
		tr.CloseIdleConnections()
	})
	return l
}

// client is a load of which nothing is sent yet.
func (w *weir) client(tr *http.Transport, path string) *load {
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &load{t: w.t, client: &http.Client{Transport: tr, CheckRedirect: stay}, url: "http://" + w.addr + path, from: map[string]int{}}
}

func (l *load) request() {
	begun := time.Now()
	from, err := l.get()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.times = append(l.times, time.Since(begun))
	if err != nil {
		l.bad = append(l.bad, err.Error())
		return
	}
	l.from[from]++
}

func (l *load) get() (from string, err error) {
	resp, err := l.client.Get(l.url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return "", fmt.Errorf("the body: %w", err)
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("%s, %q", resp.Status, text)
	case string(text) != body:
		return "", fmt.Errorf("a body of %d bytes", len(text))
	}
	return resp.Header.Get("x-host"), nil
}

// end stops, waits for what is under way, and returns how many requests there were and
// what became of those that failed.
func (l *load) end() (sent int, bad []string) {
	l.stop()
	l.wait.Wait()
	return int(l.sent.Load()), l.bad
}

// noneBad ends the load and fails the test for each request that failed.
func (l *load) noneBad() {
	l.t.Helper()
	sent, bad := l.end()
	for _, b := range bad[:min(len(bad), 5)] {
		l.t.Errorf("a request failed: %s", b)
	}
	if len(bad) > 0 {
		l.t.Errorf("%d of %d requests failed", len(bad), sent)
	}
	l.t.Logf("%d of %d requests failed; 99 %% took at most %v", len(bad), sent, l.percentile(99))
}

func (l *load) percentile(p int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.times) == 0 {
		return 0
	}
	slices.Sort(l.times)
	return l.times[(len(l.times)-1)*p/100].Round(10 * time.Microsecond)
}

// answers is how many good answers came of each host so far.
func (l *load) answers() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string]int{}
	for k, v := range l.from {
		out[k] = v
	}
	return out
}

// more waits until so many further requests have been answered well.
func (l *load) more(n int) {
	l.t.Helper()
	total := func() (sum int) {
		for _, v := range l.answers() {
			sum += v
		}
		return sum
	}
	before := total()
	eventually(l.t, "answers", func() (string, bool) { now := total(); return fmt.Sprint(now - before), now >= before+n })
}
