// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"crypto/rand"
	"encoding/binary"
	randv2 "math/rand/v2"
	"net/http"
	"time"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
)

// finishHead makes the response's head ready to be sent.
func (a *active) finishHead() {
	h, cfg := a.Response.Header, &a.conn.m.cfg
	a.Info.Response = h
	a.Info.ResponseTrailer = a.Response.Trailer
	a.Info.Status = parseStatus(h.Get(header.Status))
	if !h.Has(header.Date) {
		h.SetBytes(header.Date, a.conn.clock.date(a.conn.loop.Now()))
	}
	switch {
	case cfg.serverHeader == overwriteServer, cfg.serverHeader == serverIfAbsent && !h.Has(header.Server):
		h.Set(header.Server, cfg.serverName)
	}
	if cfg.via != "" {
		a.appendVia(h)
	}
	if req := a.Request.Header; req != nil && (cfg.alwaysID || req.Has(header.XEnvoyForceTrace)) {
		if id := req.Get(header.XRequestID); id != nil {
			h.SetBytes(header.XRequestID, id)
		}
	}
	if a.Span != nil {
		a.Span.Respond(h)
	}
}

func parseStatus(b []byte) int {
	n := 0
	for _, c := range b {
		n = n*10 + int(c-'0')
	}
	return n
}

// clock tells wall time cheaply: it is read from the system once a second.
type clock struct {
	base   time.Time
	mono   int64
	second int64
	text   []byte
}

func (c *clock) now(mono int64) time.Time {
	if c.base.IsZero() || mono-c.mono > int64(time.Second) {
		c.base = time.Now().Round(0) // Wall time only, so that it prints and compares as such.
		c.mono = engine.Nano()
		mono = max(mono, c.mono)
	}
	return c.base.Add(time.Duration(mono - c.mono))
}

// date returns the Date header's value (RFC 9110 §6.6.1).
func (c *clock) date(mono int64) []byte {
	now := c.now(mono)
	if s := now.Unix(); s != c.second || c.text == nil {
		c.second = s
		c.text = now.UTC().AppendFormat(c.text[:0], http.TimeFormat)
	}
	return c.text
}

// random is a loop's source of random numbers and request ids.
type random struct{ *randv2.ChaCha8 }

func newRandom() random {
	var seed [32]byte
	// Read never fails; see crypto/rand.
	_, _ = rand.Read(seed[:])
	return random{randv2.NewChaCha8(seed)}
}

func (r random) next() uint64 { return r.Uint64() }

// appendUUID appends a random UUID, version 4 (RFC 9562 §5.4).
func (r random) appendUUID(dst []byte) []byte {
	const hex = "0123456789abcdef"
	var u [16]byte
	binary.LittleEndian.PutUint64(u[:8], r.Uint64())
	binary.LittleEndian.PutUint64(u[8:], r.Uint64())
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	for i, b := range u {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = append(dst, hex[b>>4], hex[b&15])
	}
	return dst
}

func toggled(on bool, t route.Toggle) bool {
	switch t {
	case route.Enabled:
		return true
	case route.Disabled:
		return false
	}
	return on
}
