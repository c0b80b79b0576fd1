// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	emissaryv3 "weir.dev/weir/control/api/getambassador/v3alpha1"
	"weir.dev/weir/control/build"
)

// addedHeaders are headers that are added, by name. Their values are formats, as in
// Envoy.
func addedHeaders(in map[string]emissaryv3.AddedValue) []*corev3.HeaderValueOption {
	var out []*corev3.HeaderValueOption
	for _, name := range slices.Sorted(maps.Keys(in)) {
		action := corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
		if v := in[name]; v.Append != nil && !*v.Append {
			action = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
		}
		out = append(out, &corev3.HeaderValueOption{
			Header: &corev3.HeaderValue{Key: name, Value: in[name].Value}, AppendAction: action,
		})
	}
	return out
}

// checkHeaders finds headers that no proxy would take.
func (m *mapping) checkHeaders() {
	s := m.spec
	for field, set := range map[string]*map[string]emissaryv3.AddedValue{"add_request_headers": s.AddRequestHeaders, "add_response_headers": s.AddResponseHeaders} {
		if set != nil {
			checkAdded(field, *set, m.bad)
		}
	}
	for field, list := range map[string]*emissaryv3.Strings{"remove_request_headers": s.RemoveRequestHeaders, "remove_response_headers": s.RemoveResponseHeaders} {
		if list == nil {
			continue
		}
		for i, name := range *list {
			if !changeable(name) {
				m.bad(fmt.Sprintf("%s[%d]", field, i), reasonInvalid, "%q is not the name of a header that can be removed", name)
			}
		}
	}
	if n := len(m.checks()); n > maxChecks {
		m.bad("health_checks", reasonInvalid, "has %d entries: there may be %d", n, maxChecks)
	}
	for i, h := range m.checks() {
		if w := h.HealthCheck.HTTP; w != nil {
			for _, f := range [][2]string{{"path", w.Path}, {"hostname", w.Hostname}} {
				if why := build.BadText(f[1]); why != "" {
					m.bad(fmt.Sprintf("health_checks[%d].health_check.http.%s", i, f[0]), reasonInvalid, "%q %s", f[1], why)
				}
			}
			checkAdded(fmt.Sprintf("health_checks[%d].health_check.http.add_request_headers", i), w.AddRequestHeaders, m.bad)
			for j, name := range w.RemoveRequestHeaders {
				if !changeable(name) {
					m.bad(fmt.Sprintf("health_checks[%d].health_check.http.remove_request_headers[%d]", i, j), reasonInvalid, "%q is not the name of a header that can be removed", name)
				}
			}
		}
	}
}

// maxChecks is how many health checks a proxy takes of a cluster.
const maxChecks = 8

func checkAdded(field string, set map[string]emissaryv3.AddedValue, bad teller) {
	for _, name := range slices.Sorted(maps.Keys(set)) {
		at := fmt.Sprintf("%s[%q]", field, name)
		if !changeable(name) {
			bad(at, reasonInvalid, "is not the name of a header that can be added: for the host there is host_rewrite")
		}
		if wrong := build.BadFormat(set[name].Value); wrong != "" {
			bad(at, reasonInvalid, "the value %q %s", set[name].Value, wrong)
		}
		if why := build.BadText(set[name].Value); why != "" {
			bad(at, reasonInvalid, "the value %s", why)
		}
	}
}

func changeable(name string) bool {
	return build.FieldName(name) && !strings.EqualFold(name, "host")
}
