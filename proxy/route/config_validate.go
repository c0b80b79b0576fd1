// SPDX-License-Identifier: Apache-2.0

package route

import "strings"

// constraint is what the generated validation of Envoy's messages returns for
// one broken constraint.
type constraint interface {
	Field() string
	Reason() string
	Cause() error
}

// constraints records what breaks the constraints that stand in Envoy's protobuf
// definitions: required fields, lengths, ranges, characters of header names.
func (c *compiler) constraints(err error) {
	switch e := err.(type) {
	case nil:
	case interface{ AllErrors() []error }:
		for _, one := range e.AllErrors() {
			c.constraints(one)
		}
	case constraint:
		at := c.at("%s", protoName(e.Field()))
		if e.Cause() != nil {
			at.constraints(e.Cause())
			return
		}
		at.reject("%s", e.Reason())
	default:
		c.reject("%v", err)
	}
}

// protoName returns the field name of a protobuf message from that of its Go
// struct: VirtualHosts[0] is virtual_hosts[0].
func protoName(s string) string {
	var b strings.Builder
	key := false
	for i, r := range s {
		switch {
		case r == '[':
			key = true
		case r == ']':
			key = false
		}
		if key || r < 'A' || r > 'Z' {
			b.WriteRune(r)
			continue
		}
		if i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(r - 'A' + 'a')
	}
	return b.String()
}
