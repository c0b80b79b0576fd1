// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// browser returns a net/http client that speaks HTTP/2 in cleartext.
func browser(tb testing.TB) *http.Client {
	tb.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	tb.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

func TestServerAnswersNetHTTP(t *testing.T) {
	x := newRig(t).site(Options{}, echo)
	c := browser(t)
	for _, n := range []int{0, 1, 100, 4096, 20000, 1 << 20, 5 << 20} {
		body := strings.Repeat("x", n)
		res, err := c.Post("http://"+x.addr+"/", "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != 200 || string(got) != body {
			t.Fatalf("%d bytes: status %d, %d bytes, %v", n, res.StatusCode, len(got), err)
		}
	}
}

func TestServerManyStreams(t *testing.T) {
	x := newRig(t).site(Options{}, echo)
	c := browser(t)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			body := bytes.Repeat([]byte{byte(i)}, 1000*i)
			req, _ := http.NewRequestWithContext(context.Background(), "POST", "http://"+x.addr+"/", io.NopCloser(bytes.NewReader(body)))
			res, err := c.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			got, err := io.ReadAll(res.Body)
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("%d bytes of %d: %v", len(got), len(body), err)
			}
		})
	}
	wg.Wait()
}
