// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	"fmt"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	customresponsev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/custom_response/v3"
	localresponsepolicyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/custom_response/local_response_policy/v3"
	redirectpolicyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/custom_response/redirect_policy/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	api "weir.dev/weir/control/api/envoygateway"
	"weir.dev/weir/control/build"
	"weir.dev/weir/internal/memo"
)

// overrides replace responses of the route. The first that takes a response counts.
func (x *compiledTraffic) overrides(c *memo.Ctx, namespace string, r *routev3.Route) {
	var rules []build.ResponseRule
	for i, o := range x.spec.ResponseOverride {
		at := fmt.Sprintf("responseOverride[%d]", i)
		rule, ok := x.responseMatch(at, &o)
		switch {
		case (o.Redirect == nil) == (o.Response == nil):
			x.Bad(at, "give one of response and redirect")
			continue
		case o.Redirect != nil:
			rule.Policy = x.fetched(at+".redirect", o.Redirect)
		default:
			rule.Policy = x.instead(c, namespace, at+".response", o.Response)
		}
		if ok {
			rules = append(rules, rule)
		}
	}
	if len(rules) > 0 {
		x.filters[build.CustomResponse] = &customresponsev3.CustomResponse{}
		perFilter(r, build.CustomResponse, build.Any(build.Responses(rules)))
	}
}

// responseMatch reads which responses are replaced.
func (x *compiledTraffic) responseMatch(at string, o *api.ResponseOverride) (out build.ResponseRule, ok bool) {
	before := len(x.Refused)
	for i, m := range o.Match.StatusCodes {
		path := fmt.Sprintf("%s.match.statusCodes[%d]", at, i)
		first, last := 0, 0
		switch kind := ptr.Deref(m.Type, "Value"); {
		case kind == "Value" && m.Value != nil:
			first, last = *m.Value, *m.Value
		case kind == "Range" && m.Range != nil:
			first, last = m.Range.Start, m.Range.End
		default:
			x.Bad(path, "give the type Value with value, or Range with range")
			continue
		}
		if first < 100 || last > 599 || first > last {
			x.Bad(path, "%d to %d is no range of statuses from 100 to 599", first, last)
			continue
		}
		for code := first; code <= last; code++ {
			if text := strconv.Itoa(code); !slices.Contains(out.Statuses, text) {
				out.Statuses = append(out.Statuses, text)
			}
		}
	}
	for i, h := range o.Match.ResponseHeaders {
		path := fmt.Sprintf("%s.match.responseHeaders[%d]", at, i)
		if !validHeader(h.Name) {
			x.Bad(path+".name", "%q is not the name of a header", h.Name)
			continue
		}
		m := build.ResponseHeader{Name: h.Name, Value: h.Value.Value}
		switch kind := ptr.Deref(h.Value.Type, "Exact"); kind {
		case "Exact", "Prefix", "Suffix":
			m.Kind = kind
		case "RegularExpression":
			if checkPattern(&x.Sheet, path+".value.value", h.Value.Value) {
				m.Kind = kind
			}
		default:
			x.Bad(path+".value.type", "is %q: there are Exact, Prefix, Suffix and RegularExpression", kind)
		}
		out.Headers = append(out.Headers, m)
	}
	switch source := ptr.Deref(o.Source, "All"); source {
	case "All":
	case "Local", "Backend":
		local := strconv.FormatBool(source == "Local")
		out.Local = &local
	default:
		x.Bad(at+".source", "is %q: there are All, Local and Backend", source)
	}
	if len(o.Match.StatusCodes)+len(o.Match.ResponseHeaders) == 0 {
		x.Bad(at+".match", "give statusCodes or responseHeaders")
	}
	return out, len(x.Refused) == before
}

// instead reads what is sent in place of a response.
func (x *compiledTraffic) instead(c *memo.Ctx, namespace, at string, d *api.CustomResponse) *localresponsepolicyv3.LocalResponsePolicy {
	out := &localresponsepolicyv3.LocalResponsePolicy{
		ResponseCodeDetailsAction: &localresponsepolicyv3.LocalResponsePolicy_PreserveResponseCodeDetails{PreserveResponseCodeDetails: true},
	}
	if code := d.StatusCode; code != nil {
		if *code < 200 || *code > 599 {
			x.Bad(at+".statusCode", "%d is not a status from 200 to 599", *code)
		}
		out.StatusCode = wrapperspb.UInt32(uint32(max(0, *code)))
	}
	if b := d.Body; b != nil {
		text := ptr.Deref(b.Inline, "")
		if ptr.Deref(b.Type, "Inline") == "ValueRef" && b.ValueRef != nil {
			text = valueOf(c, &x.Sheet, at+".body.valueRef", namespace, *b.ValueRef, bodyKey)
		}
		if !utf8.ValidString(text) {
			x.Bad(at+".body", "is not text in UTF-8: what is sent instead of a response is a text")
		}
		out.BodyFormat = &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_TextFormatSource{
			TextFormatSource: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: withOperators(text)}},
		}}
	}
	if d.ContentType != nil {
		out.ResponseHeadersToAdd = x.headers(at+".contentType", false, "content-type", *d.ContentType)
	}
	if h := d.Header; h != nil {
		for _, v := range h.Set {
			out.ResponseHeadersToAdd = append(out.ResponseHeadersToAdd, x.headers(at+".header.set", false, string(v.Name), v.Value)...)
		}
		for _, v := range h.Add {
			out.ResponseHeadersToAdd = append(out.ResponseHeadersToAdd, x.headers(at+".header.add", true, string(v.Name), v.Value)...)
		}
		x.Unsupported(at+".header.remove", h.Remove, "of the response that is replaced nothing is sent")
	}
	return out
}

// fetched reads where a response is had from instead.
func (x *compiledTraffic) fetched(at string, d *api.CustomRedirect) *redirectpolicyv3.RedirectPolicy {
	a := &routev3.RedirectAction{HostRedirect: ptr.Deref(d.Hostname, "")}
	status := ptr.Deref(d.StatusCode, http.StatusFound)
	if status != http.StatusFound && status != http.StatusMovedPermanently {
		x.Bad(at+".statusCode", "is %d: there are 301 and 302", status)
	}
	if s := ptr.Deref(d.Scheme, ""); s != "" {
		if s != "http" && s != "https" {
			x.Bad(at+".scheme", "is %q: there are http and https", s)
		}
		a.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: s}
	}
	if why := build.BadText(a.HostRedirect); why != "" {
		x.Bad(at+".hostname", "%s", why)
	}
	if p := d.Port; p != nil {
		if *p < 1 || *p > math.MaxUint16 {
			x.Bad(at+".port", "%d is no port", *p)
		}
		a.PortRedirect = uint32(max(0, *p))
	}
	if p := d.Path; p != nil {
		to := ptr.Deref(p.ReplaceFullPath, "")
		if p.Type != gwapiv1.FullPathHTTPPathModifier || !strings.HasPrefix(to, "/") || strings.ContainsAny(to, "#\r\n\x00") {
			x.Bad(at+".path", "give the type ReplaceFullPath, with replaceFullPath that begins with / and has no #")
		}
		a.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: to}
	}
	if a.HostRedirect == "" && d.Path == nil {
		x.Bad(at, "leads to where the response came from: give hostname or path")
	}
	return &redirectpolicyv3.RedirectPolicy{
		RedirectActionSpecifier: &redirectpolicyv3.RedirectPolicy_RedirectAction{RedirectAction: a}, StatusCode: wrapperspb.UInt32(uint32(max(0, status))),
	}
}

// headers is a header to add to a response.
func (x *compiledTraffic) headers(at string, add bool, name, value string) []*corev3.HeaderValueOption {
	if !validHeader(name) || strings.ContainsAny(value, "\r\n\x00") {
		x.Bad(at, "%q is not the name of a header, or its value has line breaks", name)
		return nil
	}
	out := build.SetHeaders(add, [2]string{name, ""})
	out[0].Header.Value = withOperators(value)
	return out
}

// operator is what a body and a header can tell of the request.
var operator = regexp.MustCompile(`%(?:RESPONSE_CODE|RESPONSE_CODE_DETAILS|RESPONSE_FLAGS|PROTOCOL|START_TIME|ROUTE_NAME|UPSTREAM_HOST|` +
	`DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT|REQUESTED_SERVER_NAME|(?:REQ|RESP)\([A-Za-z0-9:._-]+(?:\?[A-Za-z0-9:._-]+)?\)(?::[0-9]{1,4})?)%`)

// withOperators has all percent signs of a text but those of operators stand for themselves.
func withOperators(text string) string {
	var b strings.Builder
	for {
		at := operator.FindStringIndex(text)
		if at == nil {
			break
		}
		b.WriteString(strings.ReplaceAll(text[:at[0]], "%", "%%"))
		b.WriteString(text[at[0]:at[1]])
		text = text[at[1]:]
	}
	b.WriteString(strings.ReplaceAll(text, "%", "%%"))
	return b.String()
}
