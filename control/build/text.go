// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// FieldName reports whether a text has the form of a header's name: RFC 9110 §5.6.2.
func FieldName(text string) bool { return fieldName.MatchString(text) }

var fieldName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// Authority reports whether a text has the form of a host, with a port or without one.
func Authority(text string) bool { return authority.MatchString(text) }

var authority = regexp.MustCompile(`^[0-9A-Za-z._:\[\]-]+$`)

// CookieText reports whether a text can stand among the attributes of a cookie.
func CookieText(text string) bool { return !strings.Contains(text, ";") && BadText(text) == "" }

// operator is a command of Envoy's formats that stands for itself, so that a proxy
// never refuses a table for one value in it.
var operator = regexp.MustCompile("^(REQ|RESP|TRAILER|REQ_WITHOUT_QUERY)\\(:?[!#$&'*+.^_`|~0-9A-Za-z-]+(\\?:?[!#$&'*+.^_`|~0-9A-Za-z-]+)?\\)(:\\d{1,9})?$|" +
	`^(DYNAMIC_METADATA|UPSTREAM_METADATA)\([ -~]+\)(:\d{1,9})?$|^FILTER_STATE\([^:[:cntrl:]]+(:PLAIN|:TYPED|:FIELD:[^:[:cntrl:]]+)?\)(:\d{1,9})?$|^START_TIME\([ -~]+\)$|` +
	`^(PROTOCOL|RESPONSE_CODE|ROUTE_NAME|VIRTUAL_CLUSTER_NAME|UPSTREAM_HOST|UPSTREAM_CLUSTER|UPSTREAM_REMOTE_ADDRESS|START_TIME|STREAM_ID|` +
	`DOWNSTREAM_(REMOTE|DIRECT_REMOTE|LOCAL)_(ADDRESS|ADDRESS_WITHOUT_PORT|PORT)|REQUESTED_SERVER_NAME|CONNECTION_ID|` +
	`DOWNSTREAM_TLS_(VERSION|CIPHER|SESSION_ID)|DOWNSTREAM_(PEER|LOCAL)_(SUBJECT|URI_SAN|DNS_SAN|IP_SAN)|` +
	`RESPONSE_CODE_DETAILS|RESPONSE_FLAGS|CONNECTION_TERMINATION_DETAILS|UPSTREAM_TRANSPORT_FAILURE_REASON|GRPC_STATUS|HOSTNAME|` +
	`LOCAL_REPLY_BODY|FILTER_CHAIN_NAME|UPSTREAM_LOCAL_ADDRESS|BYTES_(RECEIVED|SENT)|(REQUEST|RESPONSE)_HEADERS_BYTES|RESPONSE_TRAILERS_BYTES|` +
	`(UPSTREAM|DOWNSTREAM)_(WIRE|HEADER)_BYTES_(SENT|RECEIVED)|DURATION|(REQUEST|RESPONSE)_(TX_)?DURATION|` +
	`DOWNSTREAM_PEER_(ISSUER|SERIAL|FINGERPRINT_1|FINGERPRINT_256|CERT|CERT_V_START|CERT_V_END))$`)

// BadFormat tells what is wrong with a format, as values of headers are, or "".
func BadFormat(text string) string {
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

// BadHeaders tells why headers cannot be changed so, or "": a proxy would refuse all routes
// for the name of one.
func BadHeaders(f *gwapiv1.HTTPHeaderFilter) string {
	names := slices.Clone(f.Remove)
	for _, h := range slices.Concat(f.Set, f.Add) {
		names = append(names, string(h.Name))
		if why := BadText(h.Value); why != "" {
			return fmt.Sprintf("the value of the header %s %s", h.Name, why)
		}
	}
	for _, name := range names {
		switch {
		case strings.EqualFold(name, "host"):
			return "the header Host cannot be modified: use a URLRewrite filter with hostname"
		case !FieldName(name):
			return fmt.Sprintf("%q is not the name of a header", name)
		}
	}
	return ""
}

// Checked returns a format; of one with which anything is wrong it tells bad, and returns "".
func Checked(path, format string, bad func(path, format string, args ...any)) string {
	if why := BadFormat(format); why != "" {
		bad(path, "%q %s", format, why)
		return ""
	}
	return format
}

// BadText tells why proxies do not take a text, or "".
func BadText(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return "has a line break or another control character"
	}
	return ""
}

// BadRegex tells what is wrong with a regular expression, or "".
func BadRegex(pattern string) string {
	if pattern == "" {
		return "it is empty"
	}
	if _, err := regexp.Compile(pattern); err != nil {
		return err.Error()
	}
	return ""
}

// BadSubstitution tells what is wrong with what replaces the matches of a pattern, or "".
func BadSubstitution(pattern, text string) string {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return "" // It is told of the pattern.
	}
	if why := BadText(text); why != "" {
		return why
	}
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		if i++; i == len(text) {
			return `ends with a \`
		}
		switch d := text[i]; {
		case d == '\\':
		case d < '0' || d > '9':
			return fmt.Sprintf(`has \%c: there are \0 to \9, and \\ for a backslash`, d)
		case int(d-'0') > re.NumSubexp():
			return fmt.Sprintf(`has \%c, and the pattern has %d groups`, d, re.NumSubexp())
		}
	}
	return ""
}
