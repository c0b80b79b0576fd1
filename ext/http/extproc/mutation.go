// SPDX-License-Identifier: Apache-2.0

package extproc

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/codec/h2/hpack"
	"weir.dev/weir/proxy/header"
)

// Bounds on a head once the processor has changed it: Envoy's. One that was beyond them
// before may stay as large as it was.
const (
	maxFields = 100
	maxSize   = 60 << 10
)

// part is what kind of section is changed.
type part uint8

const (
	requestHead part = iota
	responseHead
	trailerPart
)

// target is a section that a processor changes.
type target struct {
	h    *header.Map
	part part
	// length tells that content-length may be changed: what it says is checked against the
	// body.
	length bool
	// replacing tells that all of a request is replaced, and so may be its method.
	replacing bool
	canonical func(path []byte) ([]byte, bool) // of requests
}

// mutate changes a section as the processor asks. Changes that may not be are left out and
// counted; an error tells that the message must not go on.
func (x *session) mutate(t *target, a *answer) error {
	rejected := x.stats.RejectedMutations.Inc
	fields, size := max(maxFields, t.h.Len()), max(maxSize, t.h.Size())
	if len(a.remove) > fields || len(a.set) > fields {
		rejected()
		return fmt.Errorf("header mutation of %d fields to set and %d to remove is larger than a head may be", len(a.set), len(a.remove))
	}
	for _, name := range a.remove {
		lower := strings.ToLower(name)
		if !validName(lower) {
			rejected()
			return errors.New("invalid character in remove_headers mutation")
		}
		switch {
		case lower[0] == ':' || lower == "host" || !t.may(lower) || !x.c.rules.Allows(lower):
			rejected()
			if x.c.rules.Fatal {
				return errors.New("invalid attempt to remove " + lower)
			}
		default:
			t.h.Del(header.NewName(lower))
		}
	}
	for i := range a.set {
		if err := x.set(t, &a.set[i]); err != nil {
			return err
		}
	}
	if t.h.Len() > fields || t.h.Size() > size {
		rejected()
		return fmt.Errorf("header mutation causes a head of %d fields and %d bytes, which is too large", t.h.Len(), t.h.Size())
	}
	return nil
}

// set changes one field.
func (x *session) set(t *target, m *setting) error {
	switch {
	case m.ambiguous:
		x.stats.RejectedMutations.Inc()
		return errors.New("only one of value or raw_value may be set in a header mutation")
	case !validName(m.name) || !hpack.ValidValue(m.value):
		x.stats.RejectedMutations.Inc()
		return errors.New("invalid character in set_headers mutation")
	case m.action == invalid:
		x.stats.RejectedMutations.Inc()
		return errors.New("invalid append_action of " + m.name)
	}
	name := header.NewName(m.name)
	if m.name == "host" && t.part == requestHead {
		name = header.Authority
	}
	has := t.h.Has(name)
	if m.action == addIfAbsent && has || m.action == overwriteAny && !has {
		return nil
	}
	allowed := x.c.rules.Allows(m.name) || t.replacing && m.name == ":method"
	value, fits := t.fit(name, m)
	if m.action == add && has && name.IsPseudo() || !allowed || !fits {
		x.stats.RejectedMutations.Inc()
		if x.c.rules.Fatal {
			return errors.New("invalid attempt to modify " + m.name)
		}
		return nil
	}
	if m.action == add || m.action == addIfAbsent {
		t.h.AddBytes(name, value)
	} else {
		t.h.SetBytes(name, value)
	}
	return nil
}

// fit returns a value in the form in which a section has it, and whether it may have it.
func (t *target) fit(name header.Name, m *setting) ([]byte, bool) {
	v := []byte(m.value)
	if !name.IsPseudo() {
		return v, t.may(m.name)
	}
	switch {
	case t.part == responseHead && name == header.Status:
		code, err := strconv.Atoi(m.value)
		return v, err == nil && len(m.value) == 3 && code >= 200 && code < 600
	case t.part != requestHead:
		return nil, false
	}
	switch name {
	case header.Method:
		// A tunnel is asked for by the client or not at all.
		return v, hpack.ValidName(strings.ToLower(m.value)) && m.value != "CONNECT" && string(t.h.Get(name)) != "CONNECT"
	case header.Scheme:
		return v, m.value == "http" || m.value == "https"
	case header.Authority:
		return v, codec.ValidAuthority(v)
	case header.Path:
		if m.value == "" || m.value[0] != '/' || !codec.ValidTarget(v) {
			return nil, false
		}
		return t.canonical(v)
	}
	return nil, false
}

// may reports whether a section may be made to have a field of this name, or to have none:
// those that frame a message or belong to a connection are no processor's.
func (t *target) may(name string) bool {
	switch name {
	case "content-length":
		return t.length
	case "transfer-encoding", "connection", "keep-alive", "proxy-connection", "upgrade", "te", "trailer", "http2-settings":
		return false
	case "host":
		return t.part == requestHead
	}
	return t.part != trailerPart || codec.TrailerAllowed(header.NewName(name))
}

// validName reports whether a field or pseudo-header field may be called so.
func validName(name string) bool {
	return name != "" && (hpack.ValidName(name) || name[0] == ':' && hpack.ValidName(name[1:]))
}
