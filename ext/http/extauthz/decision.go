// SPDX-License-Identifier: Apache-2.0

package extauthz

import (
	"net/http"
	"strings"

	"weir.dev/weir/proxy/codec/h2/hpack"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
)

// verdict is what a service says of a request.
type verdict uint8

const (
	failed verdict = iota // it says nothing that can be used
	allowed
	denied
)

// decision is a service's answer, whichever protocol it came by.
type decision struct {
	verdict verdict
	// status is that of the reply; 0 is the default.
	status int
	body   []byte
	// reply are for the response made here, request for the request, response for what
	// comes back from upstream.
	reply, request, response []mutation
	remove                   []string
	setQuery                 [][2]string
	removeQuery              []string
	metadata                 map[string]any
}

// mutation changes one field of a head.
type mutation struct {
	name, value string
	action      action
}

// action is how a field is changed.
type action uint8

const (
	set       action = iota // replaces what there is
	add                     // a further line
	appendTo                // to the line that there is, and none otherwise
	ifAbsent                // unless there is one
	ifPresent               // replaces what there is, if anything
)

// sound reports whether a mutation cannot break a message.
func (m *mutation) sound() bool {
	return m.name != "" && (hpack.ValidName(strings.ToLower(m.name)) || m.name[0] == ':' && hpack.ValidName(strings.ToLower(m.name[1:]))) && hpack.ValidValue(m.value)
}

// apply changes a head.
func (m *mutation) apply(h *header.Map) {
	n := header.NewName(strings.ToLower(m.name))
	if n.String() == "host" {
		n = header.Authority
	}
	switch has := h.Has(n); {
	case m.action == appendTo && has && n.IsPseudo(), m.action == set, m.action == ifPresent && has:
		h.SetBytes(n, []byte(m.value))
	case m.action == appendTo && has:
		h.Append(n, []byte(m.value))
	case m.action == add && n.IsPseudo():
		h.SetBytes(n, []byte(m.value))
	case m.action == add, m.action == ifAbsent && !has:
		h.AddBytes(n, []byte(m.value))
	}
}

// changesRequest reports whether the decision changes the request.
func (d *decision) changesRequest() bool {
	return len(d.request)+len(d.remove)+len(d.setQuery)+len(d.removeQuery) > 0
}

// sane reports whether all mutations are such that a message can have them.
func (d *decision) sane() bool {
	for _, list := range [][]mutation{d.reply, d.request, d.response} {
		for i := range list {
			if !list[i].sound() {
				return false
			}
		}
	}
	for _, q := range d.setQuery {
		if q[0] == "" || escaped(q[0]) != q[0] || escaped(q[1]) != q[1] {
			return false
		}
	}
	return true
}

// removable reports whether a field may be removed: a request has no meaning without a
// pseudo-header field.
func removable(name string) bool {
	return name != "" && name[0] != ':' && !strings.EqualFold(name, "host")
}

// permit drops what rules do not allow. It is false if that is fatal.
func (d *decision) permit(r *match.HeaderRules) bool {
	if r == nil {
		return true
	}
	ok := true
	kept := d.request[:0]
	for _, m := range d.request {
		name := strings.ToLower(m.name)
		if r.Allows(name) && !(m.action == appendTo && strings.HasPrefix(name, ":")) {
			kept = append(kept, m)
		} else {
			ok = false
		}
	}
	d.request = kept
	left := d.remove[:0]
	for _, name := range d.remove {
		if r.Allows(strings.ToLower(name)) {
			left = append(left, name)
		} else {
			ok = false
		}
	}
	d.remove = left
	return ok || !r.Fatal
}

// query changes the query of a path.
func (d *decision) query(path string) string {
	path, fragment, hasFragment := strings.Cut(path, "#")
	base, query, _ := strings.Cut(path, "?")
	var out []string
	done := make([]bool, len(d.setQuery))
	for p := range strings.SplitSeq(query, "&") {
		key, _, _ := strings.Cut(p, "=")
		if p == "" || d.removes(key) {
			continue
		}
		found := false
		for i, q := range d.setQuery {
			if q[0] != key {
				continue
			}
			if found = true; !done[i] {
				out = append(out, escaped(q[0])+"="+escaped(q[1]))
			}
			done[i] = true
		}
		if !found {
			out = append(out, p)
		}
	}
	for i, q := range d.setQuery {
		if !done[i] && !d.removes(q[0]) {
			out = append(out, escaped(q[0])+"="+escaped(q[1]))
		}
	}
	if len(out) > 0 {
		base += "?" + strings.Join(out, "&")
	}
	if hasFragment {
		base += "#" + fragment
	}
	return base
}

func (d *decision) removes(key string) bool {
	for _, k := range d.removeQuery {
		if k == key {
			return true
		}
	}
	return false
}

// escaped escapes what would end a parameter of a query, or a path.
func escaped(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '&' || c == '#' || c == '=' {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// statusOr returns the status of a reply that a service chose, if it is one that a reply
// can have.
func (d *decision) statusOr(def int) int {
	if d.status >= 200 && d.status < 600 {
		return d.status
	}
	return def
}

// isError reports whether an HTTP service says that it cannot decide.
func isError(status int) bool { return status >= http.StatusInternalServerError }
