// SPDX-License-Identifier: Apache-2.0

package limiter

import (
	"errors"
	"fmt"
	"strings"

	rlsconfv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"
)

// A Domain is the limits of one domain, as a file of Envoy's rate limit service or a
// ratelimit.config.ratelimit.v3.RateLimitConfig gives them.
type Domain struct {
	Name        string
	Descriptors []Descriptor
	// Origin tells where it comes from, for messages: a file, an object.
	Origin string
}

// A Descriptor stands for entries of requests' descriptors: those of its key and value.
type Descriptor struct {
	Key string
	// Value is what the entry's value must be, with "*" for anything; "" is every value,
	// each counted by itself.
	Value string
	// Limit is nil if requests whose descriptor ends here are not limited.
	Limit       *Policy
	Descriptors []Descriptor
	// Shadow counts, and lets all requests pass.
	Shadow bool
	// Quota refuses a request only if all descriptors of quotas do.
	Quota bool
	// DetailedMetric has a statistic for each value, ValueToMetric one for each value of
	// this entry.
	DetailedMetric, ValueToMetric bool
	// ShareThreshold has all values that match a value with "*" share one counter.
	ShareThreshold bool
	// Metadata is added to the response's dynamic metadata if the request passes.
	Metadata map[string]any
}

// A Policy is how many requests may come in a time.
type Policy struct {
	// Requests in a Unit; 0 is none.
	Requests uint32
	Unit     Unit
	// Unlimited lets all pass, and has no unit.
	Unlimited bool
	// Name is what others say that they replace.
	Name     string
	Replaces []string
}

// Unit is the length of a fixed window, which begins at a multiple of it since 1970
// (UTC).
type Unit uint8

// The units, which have the numbers of envoy.service.ratelimit.v3.
const (
	Unknown Unit = iota
	Second
	Minute
	Hour
	Day
	Month // 30 days
	Year  // 365 days
	Week
)

// String returns Envoy's name of the unit.
func (u Unit) String() string {
	if int(u) < len(unitNames) {
		return unitNames[u]
	}
	return unitNames[Unknown]
}

var unitNames = [...]string{"UNKNOWN", "SECOND", "MINUTE", "HOUR", "DAY", "MONTH", "YEAR", "WEEK"}

const day = 24 * 60 * 60

var unitSeconds = [...]int64{0, 1, 60, 60 * 60, day, 30 * day, 365 * day, 7 * day}

// Seconds is the length of the window, 0 if the unit is none.
func (u Unit) Seconds() int64 {
	if int(u) < len(unitSeconds) {
		return unitSeconds[u]
	}
	return 0
}

// ParseUnit reads a unit's name in upper or lower case.
func ParseUnit(name string) (Unit, bool) {
	for u, n := range unitNames[1:] {
		if strings.EqualFold(n, name) {
			return Unit(u + 1), true
		}
	}
	return Unknown, false
}

// maxDepth bounds how deep descriptors are nested.
const maxDepth = 32

// FromMessage returns the domain that a message describes, and checks it.
func FromMessage(m *rlsconfv3.RateLimitConfig) (Domain, error) {
	list, err := fromMessages(m.GetDescriptors(), "", 0)
	if err != nil {
		return Domain{}, fmt.Errorf("domain %q: %w", m.GetDomain(), err)
	}
	d := Domain{Name: m.GetDomain(), Origin: m.GetName(), Descriptors: list}
	return d, d.Check()
}

func fromMessages(list []*rlsconfv3.RateLimitDescriptor, path string, depth int) ([]Descriptor, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%s: descriptors are nested deeper than %d", path, maxDepth)
	}
	out := make([]Descriptor, 0, len(list))
	for i, m := range list {
		at := fmt.Sprintf("%sdescriptors[%d]", path, i)
		below, err := fromMessages(m.GetDescriptors(), at+".", depth+1)
		if err != nil {
			return nil, err
		}
		d := Descriptor{Key: m.GetKey(), Value: m.GetValue(), Descriptors: below, Shadow: m.GetShadowMode(), DetailedMetric: m.GetDetailedMetric()}
		if p := m.GetRateLimit(); p != nil {
			d.Limit = &Policy{Requests: p.GetRequestsPerUnit(), Unit: Unit(p.GetUnit()), Unlimited: p.GetUnlimited(), Name: p.GetName()}
			for _, r := range p.GetReplaces() {
				d.Limit.Replaces = append(d.Limit.Replaces, r.GetName())
			}
		}
		out = append(out, d)
	}
	return out, nil
}

// Message returns the domain as a message, which has no place for quotas, metadata and
// the ways to name statistics.
func (d *Domain) Message() *rlsconfv3.RateLimitConfig {
	return &rlsconfv3.RateLimitConfig{Name: d.Name, Domain: d.Name, Descriptors: messages(d.Descriptors)}
}

func messages(list []Descriptor) []*rlsconfv3.RateLimitDescriptor {
	var out []*rlsconfv3.RateLimitDescriptor
	for i := range list {
		d := &list[i]
		m := &rlsconfv3.RateLimitDescriptor{Key: d.Key, Value: d.Value, Descriptors: messages(d.Descriptors), ShadowMode: d.Shadow, DetailedMetric: d.DetailedMetric}
		if p := d.Limit; p != nil {
			m.RateLimit = &rlsconfv3.RateLimitPolicy{RequestsPerUnit: p.Requests, Unit: rlsconfv3.RateLimitUnit(p.Unit), Unlimited: p.Unlimited, Name: p.Name}
			for _, r := range p.Replaces {
				m.RateLimit.Replaces = append(m.RateLimit.Replaces, &rlsconfv3.RateLimitReplace{Name: r})
			}
		}
		out = append(out, m)
	}
	return out
}

// Check says what is wrong with the domain.
func (d *Domain) Check() error {
	if d.Name == "" {
		return errors.New("domain is missing: give the domain that filters ask about")
	}
	if err := check(d.Descriptors, ""); err != nil {
		return fmt.Errorf("domain %q: %w", d.Name, err)
	}
	return nil
}

func check(list []Descriptor, path string) error {
	type entry struct{ key, value string }
	seen := map[entry]int{}
	for i := range list {
		d := &list[i]
		at := fmt.Sprintf("%sdescriptors[%d]", path, i)
		e := entry{d.Key, d.Value}
		before, twice := seen[e]
		switch {
		case d.Key == "":
			return fmt.Errorf("%s.key: is missing", at)
		case twice:
			return fmt.Errorf("%s: has the key and value of descriptors[%d] beside it: put both together, or remove one", at, before)
		case d.ShareThreshold && !strings.Contains(d.Value, "*"):
			return fmt.Errorf("%s.share_threshold: has no meaning for the value %q: give a value with *", at, d.Value)
		case strings.Count(d.Value, "*") > maxStars:
			return fmt.Errorf("%s.value: has more than %d *", at, maxStars)
		}
		seen[e] = i
		if err := d.Limit.check(); err != nil {
			return fmt.Errorf("%s.rate_limit.%w", at, err)
		}
		if err := check(d.Descriptors, at+"."); err != nil {
			return err
		}
	}
	return nil
}

// maxStars bounds what a match of a value costs.
const maxStars = 16

func (p *Policy) check() error {
	if p == nil {
		return nil
	}
	for i, r := range p.Replaces {
		switch r {
		case "":
			return fmt.Errorf("replaces[%d].name: is empty", i)
		case p.Name:
			return fmt.Errorf("replaces[%d].name: %q is this limit's own name: a limit replaces others", i, r)
		}
	}
	switch {
	case p.Unlimited && p.Unit != Unknown:
		return errors.New("unit: has no meaning beside unlimited: remove one of both")
	case !p.Unlimited && p.Unit.Seconds() == 0:
		return errors.New("unit: is missing: use second, minute, hour, day, week, month or year")
	}
	return nil
}
