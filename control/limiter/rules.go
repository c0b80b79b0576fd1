// SPDX-License-Identifier: Apache-2.0

package limiter

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Rules are the limits of all domains, made to be looked up. They do not change.
type Rules struct{ domains map[string]*node }

// Domains returns how many domains there are.
func (r *Rules) Domains() int { return len(r.domains) }

// node is where a descriptor's entries have led; the domain itself is the first.
type node struct {
	keys map[string]*choice
	rule *rule
	// overrides are the statistics of limits that descriptors bring; of a domain only.
	overrides *Counts
	// share is the value that stands for all that led here, for share_threshold.
	share string
	// pattern is the value with "*" by which values lead here; toMetric tells whether
	// a statistic's name has the value that came.
	pattern  string
	toMetric bool
}

// choice is what may come of the values of one key.
type choice struct {
	values    map[string]*node
	wildcards []wildcard
	any       *node
}

type wildcard struct {
	parts [][]byte
	node  *node
}

// rule is one limit.
type rule struct {
	requests      uint32
	unit          Unit
	seconds       int64
	unlimited     bool
	shadow, quota bool
	detailed      bool
	// named tells that the statistics' name depends on what values come.
	named    bool
	name     string
	replaces []string
	metadata map[string]any
	counts   *Counts
}

// Compile makes Rules of domains, each of which stands once. What it refuses names the
// domain's origin.
func Compile(domains []Domain, stats *Stats) (*Rules, error) {
	out := &Rules{domains: map[string]*node{}}
	origin := map[string]string{}
	for i := range domains {
		d := &domains[i]
		if err := d.Check(); err != nil {
			return nil, fmt.Errorf("%s: %w", d.Origin, err)
		}
		if first, twice := origin[d.Name]; twice {
			return nil, fmt.Errorf("%s: domain %q is that of %s, too: put both together, or rename one", d.Origin, d.Name, first)
		}
		origin[d.Name] = d.Origin
		root := &node{overrides: stats.of(d.Name + ".override")}
		root.grow(d.Descriptors, d.Name, stats, false)
		out.domains[d.Name] = root
	}
	return out, nil
}

func (n *node) grow(list []Descriptor, path string, stats *Stats, named bool) {
	if len(list) > 0 {
		n.keys = map[string]*choice{}
	}
	for i := range list {
		d := &list[i]
		c := n.keys[d.Key]
		if c == nil {
			c = &choice{values: map[string]*node{}}
			n.keys[d.Key] = c
		}
		below, at := &node{toMetric: d.ValueToMetric}, path+"."+d.Key
		switch {
		case d.Value == "":
			c.any = below
		case strings.Contains(d.Value, "*"):
			below.pattern = d.Value
			if d.ShareThreshold {
				below.share = d.Value
			}
			c.wildcards = append(c.wildcards, wildcard{bytes.Split([]byte(d.Value), []byte("*")), below})
			at += "_" + d.Value
		default:
			c.values[d.Value] = below
			at += "_" + d.Value
		}
		dynamic := named || d.ValueToMetric && (d.Value == "" || below.pattern != "")
		if p := d.Limit; p != nil {
			below.rule = &rule{
				requests: p.Requests, unit: p.Unit, seconds: p.Unit.Seconds(), unlimited: p.Unlimited, shadow: d.Shadow, quota: d.Quota,
				detailed: d.DetailedMetric, named: dynamic || d.DetailedMetric, name: p.Name, replaces: p.Replaces, metadata: d.Metadata,
			}
			if !below.rule.named {
				below.rule.counts = stats.of(at)
			}
		}
		below.grow(d.Descriptors, at, stats, dynamic)
	}
}

// matches reports whether a value is what a pattern, split at each "*", stands for.
func matches(parts [][]byte, value []byte) bool {
	first, last := parts[0], parts[len(parts)-1]
	if len(value) < len(first)+len(last) || !bytes.HasPrefix(value, first) || !bytes.HasSuffix(value, last) {
		return false
	}
	rest := value[len(first) : len(value)-len(last)]
	for _, p := range parts[1 : len(parts)-1] {
		i := bytes.Index(rest, p)
		if i < 0 {
			return false
		}
		rest = rest[i+len(p):]
	}
	return true
}

// step follows one entry.
func (n *node) step(e Entry) *node {
	c := n.keys[e.Key]
	if c == nil {
		return nil
	}
	if next := c.values[string(e.Value)]; next != nil {
		return next
	}
	for i := range c.wildcards {
		if matches(c.wildcards[i].parts, e.Value) {
			return c.wildcards[i].node
		}
	}
	return c.any
}

// A found limit is what a descriptor's requests count against; rule is nil if there is
// none. key is the counter's, without its window.
type found struct {
	rule   *rule
	counts *Counts
	key    []byte
	at     int // of the key, in the request's
}

// find looks a descriptor up. key is memory to use.
func (r *Rules) find(domain string, d *Claim, key []byte, stats *Stats) found {
	n := r.domains[domain]
	if n == nil {
		stats.unknownDomain.Add(1)
		return found{key: key}
	}
	key = appendEscaped(key[:0], domain)
	if d.Limit.Seconds > 0 {
		return override(n, d, key)
	}
	for i := range d.Entries {
		e := &d.Entries[i]
		if n = n.step(*e); n == nil {
			return found{key: key}
		}
		key = append(key, '|')
		key = appendEscaped(key, e.Key)
		key = append(key, '=')
		if n.share != "" {
			key = appendEscaped(key, n.share)
		} else {
			key = appendEscaped(key, e.Value)
		}
	}
	if n.rule == nil {
		return found{key: key}
	}
	out := found{rule: n.rule, counts: n.rule.counts, key: endKey(key, n.rule.seconds)}
	if n.rule.named {
		out.counts = stats.of(r.nameOf(domain, d, n.rule))
	}
	return out
}

// override makes the rule that the descriptor itself brings.
func override(root *node, d *Claim, key []byte) found {
	for i := range d.Entries {
		e := &d.Entries[i]
		key = append(key, '|')
		key = appendEscaped(key, e.Key)
		key = append(key, '=')
		key = appendEscaped(key, e.Value)
	}
	l := &d.Limit
	return found{rule: &rule{requests: l.Requests, unit: l.Unit, seconds: l.Seconds}, counts: root.overrides, key: endKey(key, l.Seconds)}
}

// nameOf is the name of a limit's statistics where it depends on values.
func (r *Rules) nameOf(domain string, d *Claim, limit *rule) string {
	var b strings.Builder
	b.WriteString(domain)
	n := r.domains[domain]
	for i := range d.Entries {
		e := &d.Entries[i]
		parent := n
		n = n.step(*e)
		b.WriteByte('.')
		b.WriteString(e.Key)
		value := string(e.Value)
		switch {
		case n.share != "":
			value = n.share
		case limit.detailed, n.toMetric:
		case n.pattern != "":
			value = n.pattern
		case n == parent.keys[e.Key].any:
			value = ""
		}
		if value != "" {
			b.WriteByte('_')
			b.WriteString(value)
		}
	}
	return b.String()
}

// maxKey bounds a counter's key in bytes; of a longer one its hash is taken.
const maxKey = 200

func endKey(key []byte, seconds int64) []byte {
	key = append(key, '|')
	key = strconv.AppendInt(key, seconds, 10)
	if len(key) <= maxKey {
		return key
	}
	sum := sha256.Sum256(key)
	return hex.AppendEncode(append(key[:0], "sha256|"...), sum[:])
}

// appendEscaped appends text so that no value can look like another key, nor choose
// where a Redis cluster keeps it.
func appendEscaped[T string | []byte](dst []byte, text T) []byte {
	for i := range len(text) {
		switch c := text[i]; c {
		case '|', '=', '%', '{', '}':
			dst = append(dst, '%', hexDigits[c>>4], hexDigits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

const hexDigits = "0123456789abcdef"
