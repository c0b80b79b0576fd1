// SPDX-License-Identifier: Apache-2.0

// Package sign signs requests to AWS: Signature Version 4 and 4A, in a header or in
// the query.
//
// A [Signer] works on the head as filters see it, with the payload's hash given. It
// keeps the key of the day and its buffers, so that a signature of version 4 costs
// no allocation. The package has no credentials of its own, no clock and no network.
package sign

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
)

// Credentials are what AWS knows a caller by. They are never changed: new ones are
// new Credentials.
type Credentials struct {
	AccessKeyID, SecretAccessKey string
	// SessionToken belongs to temporary credentials; "" otherwise.
	SessionToken string
}

// Algorithm is a version of AWS's signatures.
type Algorithm uint8

// The algorithms.
const (
	V4  Algorithm = iota // HMAC, for one region
	V4A                  // ECDSA, for a set of regions
)

func (a Algorithm) String() string {
	if a == V4A {
		return "AWS4-ECDSA-P256-SHA256"
	}
	return "AWS4-HMAC-SHA256"
}

// Options say how a Signer signs.
type Options struct {
	Algorithm Algorithm
	// Service is the service's name in signatures, such as "lambda" or "s3".
	Service string
	// Region is the region or, of V4A, the set of regions separated by commas.
	Region string
	// Query puts the signature into the query, valid for Expires, whole seconds.
	Query   bool
	Expires time.Duration
	// Include, if any, are the only fields that are signed besides host, content-type
	// and x-amz-*; Exclude, without Include, those that are not. What signing itself
	// sets is always signed.
	Include, Exclude match.Strings
}

// Payload is the hash of a request's body as signatures have it.
type Payload struct {
	text [2 * sha256.Size]byte
	n    uint8
}

// Hash is the Payload of a body, which may be empty.
func Hash(body []byte) Payload {
	var p Payload
	sum := sha256.Sum256(body)
	hex.Encode(p.text[:], sum[:])
	p.n = uint8(len(p.text))
	return p
}

// Unsigned is the Payload of a body that the signature does not cover.
func Unsigned() Payload {
	var p Payload
	p.n = uint8(copy(p.text[:], "UNSIGNED-PAYLOAD"))
	return p
}

func (p *Payload) bytes() []byte { return p.text[:p.n] }

// Field names that signing sets.
var (
	amzDate      = header.NewName("x-amz-date")
	amzContent   = header.NewName("x-amz-content-sha256")
	amzToken     = header.NewName("x-amz-security-token")
	amzRegionSet = header.NewName("x-amz-region-set")
)

// A Signer signs requests. It may be used by several goroutines.
type Signer struct {
	opt Options
	// verbatim leaves the path as it is, for the services that ask for it.
	verbatim bool
	key      atomic.Pointer[key]
	scratch  sync.Pool
}

// New returns a Signer.
func New(o Options) *Signer {
	s := &Signer{opt: o, verbatim: verbatim(o.Service)}
	s.scratch.New = func() any { return new(scratch) }
	return s
}

// verbatim tells whether a service signs paths as they are sent: S3 and its kin. All
// others sign them normalised and encoded once more.
func verbatim(service string) bool {
	switch strings.ToLower(service) {
	case "s3", "s3-outposts", "s3-express":
		return true
	}
	return false
}

// key is what signatures are made with: of one day, with the credentials it is from.
type key struct {
	day  [8]byte
	from *Credentials
	mac  [sha256.Size]byte // V4
	ec   *ecdsa.PrivateKey // V4A; it outlives the day
}

// scratch are the buffers of one signature.
type scratch struct {
	text   []byte // the canonical request, then what is signed
	query  []byte // the pairs of the query, encoded
	pairs  []pair
	fields []field
	out    []byte
	mac    hash.Hash
	macKey [sha256.Size]byte
}

// field is one that is signed.
type field struct {
	name  string
	value []byte
}

const (
	longTime = "20060102T150405Z"
	terminal = "/aws4_request"
)

// Sign signs the request whose head is h, and whose body has the hash payload, which
// x-amz-content-sha256 tells: by x-amz-date, authorization and, where they have a
// value, x-amz-security-token and x-amz-region-set; or else by the query of its path.
// What stands there from before is replaced.
func (s *Signer) Sign(h *header.Map, payload *Payload, c *Credentials, now time.Time) error {
	if len(h.Get(header.Method)) == 0 || len(h.Get(header.Path)) == 0 {
		return fmt.Errorf("sign the request: it has no method or no path")
	}
	w := s.scratch.Get().(*scratch)
	defer s.scratch.Put(w)
	var at [len(longTime)]byte
	date := now.UTC().AppendFormat(at[:0], longTime)
	k, err := s.keyOf(c, date[:8])
	if err != nil {
		return err
	}
	h.SetBytes(amzContent, payload.bytes())
	if s.opt.Query {
		return s.signQuery(h, payload, c, k, date, w)
	}
	h.Del(header.Authorization)
	h.SetBytes(amzDate, date)
	if c.SessionToken != "" {
		h.Set(amzToken, c.SessionToken)
	} else {
		h.Del(amzToken)
	}
	if s.opt.Algorithm == V4A {
		h.Set(amzRegionSet, s.opt.Region)
	}
	s.collect(h, w)
	w.out = w.out[:0]
	s.canonical(h, h.Get(header.Path), payload, w)
	w.out = append(w.out, s.opt.Algorithm.String()...)
	w.out = append(w.out, " Credential="...)
	w.out = append(w.out, c.AccessKeyID...)
	w.out = append(w.out, '/')
	w.out = s.appendScope(w.out, date[:8])
	w.out = append(w.out, ", SignedHeaders="...)
	w.out = w.appendNames(w.out)
	w.out = append(w.out, ", Signature="...)
	if w.out, err = s.appendSignature(w.out, k, date, w); err != nil {
		return err
	}
	h.SetBytes(header.Authorization, w.out)
	return nil
}

// keyOf returns the key of the day, made once.
func (s *Signer) keyOf(c *Credentials, day []byte) (*key, error) {
	old := s.key.Load()
	if old != nil && old.from == c && string(old.day[:]) == string(day) {
		return old, nil
	}
	k := &key{from: c}
	copy(k.day[:], day)
	switch {
	case s.opt.Algorithm == V4:
		sum := mac([]byte("AWS4"+c.SecretAccessKey), k.day[:])
		sum = mac(sum, []byte(s.opt.Region))
		sum = mac(sum, []byte(s.opt.Service))
		copy(k.mac[:], mac(sum, []byte("aws4_request")))
	case old != nil && old.from == c:
		k.ec = old.ec
	default:
		var err error
		if k.ec, err = derive(c); err != nil {
			return nil, err
		}
	}
	s.key.Store(k)
	return k, nil
}

func mac(key, text []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(text)
	return m.Sum(nil)
}

// appendScope appends what a signature is for: the day, the region (of V4), the
// service.
func (s *Signer) appendScope(dst, day []byte) []byte {
	dst = append(dst, day...)
	dst = append(dst, '/')
	if s.opt.Algorithm == V4 {
		dst = append(dst, s.opt.Region...)
		dst = append(dst, '/')
	}
	dst = append(dst, s.opt.Service...)
	return append(dst, terminal...)
}

// appendSignature signs the canonical request in w.text.
func (s *Signer) appendSignature(dst []byte, k *key, date []byte, w *scratch) ([]byte, error) {
	sum := sha256.Sum256(w.text)
	w.text = append(w.text[:0], s.opt.Algorithm.String()...)
	w.text = append(w.text, '\n')
	w.text = append(w.text, date...)
	w.text = append(w.text, '\n')
	w.text = s.appendScope(w.text, date[:8])
	w.text = append(w.text, '\n')
	w.text = hex.AppendEncode(w.text, sum[:])
	if s.opt.Algorithm == V4A {
		sum = sha256.Sum256(w.text)
		sig, err := ecdsa.SignASN1(rand.Reader, k.ec, sum[:])
		if err != nil {
			return dst, fmt.Errorf("sign the request: %w", err)
		}
		return hex.AppendEncode(dst, sig), nil
	}
	if w.mac == nil || w.macKey != k.mac {
		w.mac, w.macKey = hmac.New(sha256.New, k.mac[:]), k.mac
	}
	w.mac.Reset()
	w.mac.Write(w.text)
	w.text = w.mac.Sum(w.text[:0])
	return hex.AppendEncode(dst, w.text), nil
}

// collect takes the fields that are signed, sorted by name; those of one name in
// their order.
func (s *Signer) collect(h *header.Map, w *scratch) {
	w.fields = w.fields[:0]
	if host := h.Get(header.Authority); len(host) > 0 {
		w.fields = append(w.fields, field{"host", withoutPort(host)})
	}
	all := h.Fields()
	for i := range all {
		f := &all[i]
		if !f.Live() || f.IsPseudo() || len(f.Value()) == 0 {
			continue
		}
		name := f.Name().String()
		if !s.signed(name) {
			continue
		}
		j := len(w.fields)
		w.fields = append(w.fields, field{})
		for ; j > 0 && w.fields[j-1].name > name; j-- {
			w.fields[j] = w.fields[j-1]
		}
		w.fields[j] = field{name, f.Value()}
	}
}

// signed tells whether a field is part of the signature. What hops change, add or
// take away is not, whatever is configured.
func (s *Signer) signed(name string) bool {
	switch name {
	case "host", "authorization", "user-agent", "expect", "x-forwarded-for", "x-forwarded-proto", "x-amzn-trace-id",
		"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade":
		return false
	case amzDate.String(), amzContent.String(), amzToken.String(), amzRegionSet.String():
		return true
	case "content-type":
		return len(s.opt.Include) > 0 || !s.opt.Exclude.Match(name)
	}
	switch {
	case strings.HasPrefix(name, "x-envoy-"):
		return false
	case len(s.opt.Include) > 0:
		return strings.HasPrefix(name, "x-amz-") || s.opt.Include.Match(name)
	}
	return !s.opt.Exclude.Match(name)
}

// withoutPort is a host as signatures have it: without the ports that are not told.
func withoutPort(host []byte) []byte {
	if b, ok := bytes.CutSuffix(host, []byte(":443")); ok {
		return b
	}
	b, _ := bytes.CutSuffix(host, []byte(":80"))
	return b
}

// canonical writes the canonical request to w.text.
func (s *Signer) canonical(h *header.Map, target []byte, payload *Payload, w *scratch) {
	path, query, _ := bytes.Cut(target, []byte("?"))
	w.text = append(w.text[:0], h.Get(header.Method)...)
	w.text = append(w.text, '\n')
	w.text = s.appendPath(w.text, path)
	w.text = append(w.text, '\n')
	w.text = w.appendQuery(w.text, query)
	w.text = append(w.text, '\n')
	for i := range w.fields {
		f := &w.fields[i]
		if i > 0 && w.fields[i-1].name == f.name {
			w.text[len(w.text)-1] = ','
		} else {
			w.text = append(w.text, f.name...)
			w.text = append(w.text, ':')
		}
		w.text = appendSpaced(w.text, f.value)
		w.text = append(w.text, '\n')
	}
	w.text = append(w.text, '\n')
	w.text = w.appendNames(w.text)
	w.text = append(w.text, '\n')
	w.text = append(w.text, payload.bytes()...)
}

// appendNames appends the names of the signed fields, each once.
func (w *scratch) appendNames(dst []byte) []byte {
	for i := range w.fields {
		if i > 0 {
			if w.fields[i-1].name == w.fields[i].name {
				continue
			}
			dst = append(dst, ';')
		}
		dst = append(dst, w.fields[i].name...)
	}
	return dst
}

// appendSpaced appends a value without white space around it, and with one space for
// any within.
func appendSpaced(dst, value []byte) []byte {
	start, space := len(dst), false
	for _, c := range value {
		if c == ' ' || c >= '\t' && c <= '\r' {
			space = true
			continue
		}
		if space && len(dst) > start {
			dst = append(dst, ' ')
		}
		space = false
		dst = append(dst, c)
	}
	return dst
}
