// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"

	"golang.org/x/net/http2/hpack"

	"weir.dev/weir/test/bench/frame"
)

// cycleLen is after how many requests a connection repeats itself, cycles after how many times that its encoding must.
const (
	cycleLen = 512
	cycles   = 200
)

// A sequence is the HEADERS frames that a connection of HTTP/2 sends: those of once and then those of cycle over and
// over. They are encoded ahead of time, because encoding costs the client more than all the rest. A header block means
// something only after those before it, so the cycle is one that leaves the dynamic table as it found it: the same
// requests encoded to the same bytes a second time replaced the whole table by the same entries, or none.
type sequence struct {
	once, cycle [][]byte
}

// at is frame i of a connection.
func (s *sequence) at(i int) []byte {
	if i < len(s.once) {
		return s.once[i]
	}
	return s.cycle[(i-len(s.once))%len(s.cycle)]
}

// encode builds the sequence of a spec, with a dynamic table of 4,096 bytes, which every server allows by default.
func encode(spec Spec) (sequence, error) {
	fields := requests(spec)
	flags := uint8(frame.EndHeaders | frame.EndStream)
	if spec.Messages > 0 {
		flags = frame.EndHeaders
	}
	var buf bytes.Buffer
	enc := hpack.NewEncoder(&buf)
	var all [][]byte
	seen := make(map[string]int) // cycle as bytes → where in all it ended
	for range cycles {
		begin := len(all)
		for _, request := range fields {
			buf.Reset()
			for _, f := range request {
				if err := enc.WriteField(f); err != nil {
					return sequence{}, fmt.Errorf("encode a request: %w", err)
				}
			}
			all = append(all, frame.Append(nil, frame.Headers, flags, 0, buf.Bytes()))
		}
		key := string(bytes.Join(all[begin:], nil))
		if end := seen[key]; end > 0 {
			return sequence{once: all[:end], cycle: all[end:]}, nil
		}
		seen[key] = len(all)
	}
	return sequence{}, fmt.Errorf("encode requests: the dynamic table does not come back to where it was in %d cycles", cycles)
}

// agents are what user-agent says, the first ones more often.
var agents = [...]string{
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36",
	"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
	"Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0",
	"curl/8.15.0",
}

// requests are the header fields of a cycle, the same in every run: with Spread as a connection shared by many clients
// carries them (a load balancer's view), with paths, sessions and user agents of their own, and else all alike.
func requests(spec Spec) [][]hpack.HeaderField {
	scheme, method := "http", "GET"
	if len(spec.Cert) > 0 {
		scheme = "https"
	}
	if spec.Messages > 0 {
		method = "POST"
	}
	rng := rand.New(rand.NewPCG(75, 41))
	var all [][]hpack.HeaderField
	for range cycleLen {
		n := rng.IntN(max(spec.Spread, 1))
		fill := strings.NewReplacer("{n}", fmt.Sprintf("%05d", n)).Replace
		r := []hpack.HeaderField{
			{Name: ":method", Value: method},
			{Name: ":scheme", Value: scheme},
			{Name: ":authority", Value: fill(spec.Host)},
			{Name: ":path", Value: fill(spec.Path)},
		}
		switch {
		case spec.Messages > 0:
			r = append(r, hpack.HeaderField{Name: "content-type", Value: "application/grpc"},
				hpack.HeaderField{Name: "te", Value: "trailers"},
				hpack.HeaderField{Name: "user-agent", Value: "grpc-go/1.75.0"},
				hpack.HeaderField{Name: "grpc-accept-encoding", Value: "gzip"})
		case spec.Spread > 0:
			r = append(r, hpack.HeaderField{Name: "user-agent", Value: agents[min(rng.IntN(len(agents)), rng.IntN(len(agents)))]},
				hpack.HeaderField{Name: "accept", Value: "application/json, text/plain, */*"},
				hpack.HeaderField{Name: "accept-language", Value: []string{"en-US,en;q=0.9", "de-DE,de;q=0.9,en;q=0.8"}[rng.IntN(2)]},
				hpack.HeaderField{Name: "accept-encoding", Value: "gzip, deflate, br"},
				hpack.HeaderField{Name: "cookie", Value: fmt.Sprintf("session=%016x; theme=dark", rng.Uint64N(1<<40)*0x9e3779b9)})
		default:
			r = append(r, hpack.HeaderField{Name: "user-agent", Value: "weir-bench"}, hpack.HeaderField{Name: "accept", Value: "*/*"})
		}
		all = append(all, r)
	}
	return all
}
