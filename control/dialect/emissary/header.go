// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	emissaryv3 "weir.dev/weir/control/api/getambassador/v3alpha1"
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

// fieldName is the form of a header's name: RFC 9110 §5.6.2.
var fieldName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// operator is a command of Envoy's formats that stands for itself, so that a proxy
// never refuses a table for one value in it.
var operator = regexp.MustCompile(`^(REQ|RESP|REQ_WITHOUT_QUERY|DYNAMIC_METADATA|FILTER_STATE|START_TIME|UPSTREAM_METADATA)\(.+\)(:\d+)?$|` +
	`^(PROTOCOL|RESPONSE_CODE|ROUTE_NAME|VIRTUAL_CLUSTER_NAME|UPSTREAM_HOST|UPSTREAM_CLUSTER|UPSTREAM_REMOTE_ADDRESS|START_TIME|STREAM_ID|` +
	`DOWNSTREAM_(REMOTE|DIRECT_REMOTE|LOCAL)_(ADDRESS|ADDRESS_WITHOUT_PORT|PORT)|REQUESTED_SERVER_NAME|CONNECTION_ID|` +
	`DOWNSTREAM_TLS_(VERSION|CIPHER|SESSION_ID)|DOWNSTREAM_(PEER|LOCAL)_(SUBJECT|URI_SAN|DNS_SAN|IP_SAN)|` +
	`DOWNSTREAM_PEER_(ISSUER|SERIAL|FINGERPRINT_1|FINGERPRINT_256|CERT|CERT_V_START|CERT_V_END))$`)

// badFormat tells what is wrong with a format, or "".
func badFormat(text string) string {
	for rest := text; ; {
		_, after, found := strings.Cut(rest, "%")
		if !found {
			return ""
		}
		command, next, found := strings.Cut(after, "%")
		switch {
		case !found:
			return "has a % alone: write %% for a percent sign"
		case command == "" || operator.MatchString(command):
		default:
			return fmt.Sprintf("has %%%s%%, which is not known: write %%%% for a percent sign", command)
		}
		rest = next
	}
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
	for i, h := range m.checks() {
		if w := h.HealthCheck.HTTP; w != nil {
			checkAdded(fmt.Sprintf("health_checks[%d].health_check.http.add_request_headers", i), w.AddRequestHeaders, m.bad)
		}
	}
}

func checkAdded(field string, set map[string]emissaryv3.AddedValue, bad teller) {
	for _, name := range slices.Sorted(maps.Keys(set)) {
		at := fmt.Sprintf("%s[%q]", field, name)
		if !changeable(name) {
			bad(at, reasonInvalid, "is not the name of a header that can be added: for the host there is host_rewrite")
		}
		if wrong := badFormat(set[name].Value); wrong != "" {
			bad(at, reasonInvalid, "the value %q %s", set[name].Value, wrong)
		}
		if strings.ContainsAny(set[name].Value, "\r\n\x00") {
			bad(at, reasonInvalid, "the value has a line break")
		}
	}
}

func changeable(name string) bool {
	return fieldName.MatchString(name) && !strings.EqualFold(name, "host")
}

// badSubstitution tells what is wrong with what replaces a match, or "".
func badSubstitution(r *emissaryv3.RegexMap) string {
	re, err := regexp.Compile(r.Pattern)
	if err != nil {
		return "" // It is told of the pattern.
	}
	for i := 0; i < len(r.Substitution); i++ {
		if r.Substitution[i] != '\\' {
			continue
		}
		if i++; i == len(r.Substitution) {
			return `ends with a \`
		}
		switch d := r.Substitution[i]; {
		case d == '\\':
		case d < '0' || d > '9':
			return fmt.Sprintf(`has \%c: there are \0 to \9, and \\ for a backslash`, d)
		case int(d-'0') > re.NumSubexp():
			return fmt.Sprintf(`has \%c, and the pattern has %d groups`, d, re.NumSubexp())
		}
	}
	return ""
}
