// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"weir.dev/weir/control/limiter"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/tls/tlstest"
	"weir.dev/weir/test/redistest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestParse(t *testing.T) {
	tests := []struct{ kind, url, want string }{
		{"", "localhost:6379", "[localhost:6379]"},
		{"SINGLE", "/run/redis.sock", "[/run/redis.sock]"},
		{"single", "redis://ann:secret@localhost:6379/3", "[localhost:6379] ann/secret db 3"},
		{"single", "rediss://:secret@localhost:6379", "[localhost:6379] /secret tls"},
		{"CLUSTER", "a:1,b:2", "[a:1 b:2] cluster"},
		{"cluster", "a:1", "[a:1] cluster"},
		{"Sentinel", "limits,a:1,b:2", "[a:1 b:2] master limits"},
		{"sentinel", "limits", `redis "limits": a sentinel needs the master's name and at least one address: name,host:port`},
		{"", "a:1,b:2", `redis "a:1,b:2": has 2 addresses: give one, or the type cluster or sentinel`},
		{"ring", "a:1", `redis: type "ring" is not known: use single, sentinel or cluster`},
		{"", "localhost", `redis "localhost": want host:port`},
		{"", "redis://ann:secret@localhost:6379/x", `redis "redis://...@localhost:6379/x": "x" is not the number of a database`},
		{"", "http://ann:secret@localhost", `redis "http://...@localhost": want redis://user:password@host:port/db, or rediss:// for TLS`},
	}
	for _, tt := range tests {
		o, err := Parse(tt.kind, tt.url)
		got := fmt.Sprint(o.Addresses)
		if o.Username+o.Password != "" {
			got += " " + o.Username + "/" + o.Password
		}
		if o.DB != 0 {
			got += fmt.Sprint(" db ", o.DB)
		}
		if o.TLS != nil {
			got += " tls"
		}
		if o.Cluster {
			got += " cluster"
		}
		if o.Master != "" {
			got += " master " + o.Master
		}
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s %s: %s, want %s", tt.kind, tt.url, got, tt.want)
		}
	}
}

// add adds to some keys and returns the totals.
func add(t *testing.T, s *Store, ops ...limiter.Op) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.Add(ctx, ops); err != nil {
		return err.Error()
	}
	var out []string
	for _, o := range ops {
		if o.Err != nil {
			out = append(out, "error")
		} else {
			out = append(out, fmt.Sprint(o.Total))
		}
	}
	return strings.Join(out, " ")
}

func counts(t *testing.T, s *Store) {
	t.Helper()
	for i, want := range []string{"0 3 7", "0 6 14", "0 9 21"} {
		if got := add(t, s, limiter.Op{Key: "none"}, limiter.Op{Key: "a", Add: 3, TTL: time.Minute}, limiter.Op{Key: "b", Add: 7, TTL: time.Minute}); got != want {
			t.Errorf("%d: %s, want %s", i, got, want)
		}
	}
	if got := add(t, s, limiter.Op{Key: "b", Add: -20, TTL: time.Minute}, limiter.Op{Key: "a"}); got != "1 9" {
		t.Errorf("after some were given back: %s", got)
	}
}

func open(t *testing.T, o Options) *Store {
	t.Helper()
	o.Timeout = 20 * time.Second
	s := New(o)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSingle(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, Options{Addresses: []string{server.Address}})
	counts(t, s)
	if got := server.Do("TTL a"); got != ":60" && got != ":59" {
		t.Errorf("lives for %s", got)
	}
	server.Do("SET text hello")
	server.Do("LPUSH list 1")
	server.Do("SET last 9223372036854775807")
	if got := add(t, s, limiter.Op{Key: "text", Add: 1, TTL: time.Minute}, limiter.Op{Key: "a", Add: 1, TTL: time.Minute}, limiter.Op{Key: "list"}, limiter.Op{Key: "text"}, limiter.Op{Key: "last", Add: 1, TTL: time.Minute}); got != "error 10 error error error" {
		t.Errorf("keys of others: %s", got)
	}
	server.Kill()
	if got := add(t, s, limiter.Op{Key: "a", Add: 1}); !strings.HasPrefix(got, "redis: ") {
		t.Errorf("without a server: %s", got)
	}
	server.Restart()
	counts(t, s)
}

func TestAuthAndTLS(t *testing.T) {
	ca := tlstest.NewCA(t, "test")
	pair := ca.Issue(t, tlstest.Leaf{DNS: []string{"redis.test"}})
	dir := t.TempDir()
	cert, key := pair.Write(t, dir, "server")
	server := redistest.Start(t, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-auth-clients", "no", "--requirepass", "secret")
	counts(t, open(t, Options{Addresses: []string{server.Address}, Password: "secret", TLS: &tls.Config{RootCAs: ca.Pool(), ServerName: "redis.test", MinVersion: tls.VersionTLS12}}))
	for name, o := range map[string]Options{
		"wrong password": {Password: "wrong", TLS: &tls.Config{RootCAs: ca.Pool(), ServerName: "redis.test", MinVersion: tls.VersionTLS12}},
		"wrong name":     {Password: "secret", TLS: &tls.Config{RootCAs: ca.Pool(), ServerName: "other.test", MinVersion: tls.VersionTLS12}},
	} {
		o.Addresses = []string{server.Address}
		if got := add(t, open(t, o), limiter.Op{Key: "a", Add: 1}); !strings.HasPrefix(got, "redis: ") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestCluster(t *testing.T) {
	server := redistest.Cluster(t)
	counts(t, open(t, Options{Addresses: []string{server.Address}, Cluster: true}))
}

func TestSentinel(t *testing.T) {
	server := redistest.Start(t)
	sentinel := redistest.Sentinel(t, server)
	counts(t, open(t, Options{Addresses: []string{sentinel.Address}, Master: "limits"}))
}

// TestLies: a server that does not speak as it should is an error, soon, and no panic.
func TestLies(t *testing.T) {
	answers := []string{
		"", "\r\n", "hello\r\n", "$9223372036854775807\r\n", "$1073741824\r\n", "*2147483647\r\n", ":999999999999999999999\r\n", "+" + strings.Repeat("x", 1<<20), "$5\r\nhello\r\n", "*1\r\n:1\r\n", "$-1\r\n", "-ERR no\r\n",
		"-LOADING\r\n", "%1000000000\r\n", strings.Repeat("*1\r\n", 10_000),
	}
	for _, a := range answers {
		t.Run(fmt.Sprintf("%.12q", a), func(t *testing.T) {
			s := open(t, Options{Addresses: []string{liar(t, a)}})
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			ops := []limiter.Op{{Key: "a", Add: 1, TTL: time.Minute}}
			if err := s.Add(ctx, ops); err == nil && ops[0].Err == nil {
				t.Errorf("believed: %d", ops[0].Total)
			}
		})
	}
}

// liar is a server that gives the same answer to whatever it is sent.
func liar(t *testing.T, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close() // The test is over.
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for {
					if _, err := r.ReadByte(); err != nil {
						return
					}
					_, _ = r.Discard(r.Buffered()) // It does not matter what was asked.
					if _, err := c.Write([]byte(answer)); err != nil || answer == "" {
						return
					}
				}
			})
		}
	})
	return l.Addr().String()
}

func TestGuard(t *testing.T) {
	for text, want := range map[string]bool{
		":1\r\n+OK\r\n": true, "$5\r\nhello\r\n:1\r\n": true, "$5\r\n$9999\r\n*2\r\n:1\r\n:2\r\n": true, "*-1\r\n$-1\r\n:1\r\n": true,
		"$1048577\r\n": false, "*65537\r\n": false, "$99999999999999999999999\r\n": false, "$1a\r\n": false, "?": false, "GET": false, "$--1\r\n": false,
		"+" + strings.Repeat("x", maxLine+1): false,
	} {
		var whole, parts guard
		ok := true
		for i := range text {
			ok = ok && parts.pass([]byte(text[i:i+1]))
		}
		if got := whole.pass([]byte(text)); got != want || ok != want {
			t.Errorf("%.20q: %v, in parts %v, want %v", text, got, ok, want)
		}
	}
}

func FuzzGuard(f *testing.F) {
	f.Add([]byte("$5\r\nhello\r\n*2\r\n:1\r\n-ERR\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var g guard
		if g.pass(data) && (g.skip > maxText+2 || g.length > maxLine) {
			t.Errorf("%q: beyond the bounds: %+v", data, g)
		}
	})
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // Nobody accepts, nobody answers.
	s := New(Options{Addresses: []string{l.Addr().String()}, Timeout: 50 * time.Millisecond})
	defer s.Close()
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Add(ctx, []limiter.Op{{Key: "a", Add: 1}}); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("an answer: %v", err)
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("after %s", d)
	}
}
