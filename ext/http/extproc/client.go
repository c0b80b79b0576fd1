// SPDX-License-Identifier: Apache-2.0

package extproc

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
)

// processMethod is the method of the gRPC service.
const processMethod = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"

// question is one message to the processor.
type question struct {
	kind       kind
	request    bool
	fields     *header.Map // of headers or trailers
	body       []byte
	end        bool
	observe    bool
	metadata   map[string]map[string]any
	attributes map[string]any
	protocol   *protocol
}

// protocol is what the first message tells of the configuration.
type protocol struct {
	request, response bodyMode
	eager             bool
}

// message makes the message of a question.
func (c *Settings) message(q *question) *extprocv3.ProcessingRequest {
	m := &extprocv3.ProcessingRequest{ObservabilityMode: q.observe}
	switch {
	case q.kind == headers && q.request:
		m.Request = &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: c.fields(q.fields), EndOfStream: q.end}}
	case q.kind == headers:
		m.Request = &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{Headers: c.fields(q.fields), EndOfStream: q.end}}
	case q.kind == body && q.request:
		m.Request = &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: q.body, EndOfStream: q.end}}
	case q.kind == body:
		m.Request = &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{Body: q.body, EndOfStream: q.end}}
	case q.request:
		m.Request = &extprocv3.ProcessingRequest_RequestTrailers{RequestTrailers: &extprocv3.HttpTrailers{Trailers: c.fields(q.fields)}}
	default:
		m.Request = &extprocv3.ProcessingRequest_ResponseTrailers{ResponseTrailers: &extprocv3.HttpTrailers{Trailers: c.fields(q.fields)}}
	}
	for ns, v := range q.metadata {
		// What no Struct can hold is left out: nobody could read it.
		if s, err := structpb.NewStruct(v); err == nil {
			if m.MetadataContext == nil {
				m.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{}}
			}
			m.MetadataContext.FilterMetadata[ns] = s
		}
	}
	if s, err := structpb.NewStruct(q.attributes); err == nil && len(q.attributes) > 0 {
		m.Attributes = map[string]*structpb.Struct{Name: s}
	}
	if p := q.protocol; p != nil {
		m.ProtocolConfig = &extprocv3.ProtocolConfiguration{
			RequestBodyMode: bodyModes[p.request], ResponseBodyMode: bodyModes[p.response], SendBodyWithoutWaitingForHeaderResponse: p.eager,
		}
	}
	return m
}

// append appends the message of a question.
func (c *Settings) append(dst []byte, q *question) []byte {
	if q.kind == body && q.metadata == nil && q.attributes == nil && q.protocol == nil {
		return appendBody(dst, q)
	}
	out, err := proto.MarshalOptions{}.MarshalAppend(dst, c.message(q))
	if err != nil {
		panic("BUG: a message of our own: " + err.Error())
	}
	return out
}

// appendJSON is append for a service of HTTP.
func (c *Settings) appendJSON(dst []byte, q *question) []byte {
	out, err := protojson.MarshalOptions{}.MarshalAppend(dst, c.message(q))
	if err != nil {
		panic("BUG: a message of our own: " + err.Error())
	}
	return out
}

// The fields of ProcessingRequest and HttpBody.
const (
	fieldRequestBody, fieldResponseBody = 4, 5
	fieldObservability                  = 10
	fieldBody, fieldEnd                 = 1, 2
)

// appendBody is append for a body that is sent with nothing else, as most are.
func appendBody(dst []byte, q *question) []byte {
	field := protowire.Number(fieldResponseBody)
	if q.request {
		field = fieldRequestBody
	}
	n := 0
	if len(q.body) > 0 {
		n += protowire.SizeTag(fieldBody) + protowire.SizeBytes(len(q.body))
	}
	if q.end {
		n += protowire.SizeTag(fieldEnd) + protowire.SizeVarint(1)
	}
	dst = protowire.AppendTag(dst, field, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(n))
	if len(q.body) > 0 {
		dst = protowire.AppendTag(dst, fieldBody, protowire.BytesType)
		dst = protowire.AppendBytes(dst, q.body)
	}
	if q.end {
		dst = protowire.AppendTag(dst, fieldEnd, protowire.VarintType)
		dst = protowire.AppendVarint(dst, 1)
	}
	if q.observe {
		dst = protowire.AppendTag(dst, fieldObservability, protowire.VarintType)
		dst = protowire.AppendVarint(dst, 1)
	}
	return dst
}

// fields tells of a head what may be told (forward_rules).
func (c *Settings) fields(h *header.Map) *corev3.HeaderMap {
	out := &corev3.HeaderMap{}
	for n, v := range h.All() {
		name := n.String()
		if c.disallowed.Match(name) || len(c.allowed) > 0 && !c.allowed.Match(name) {
			continue
		}
		out.Headers = append(out.Headers, &corev3.HeaderValue{Key: name, RawValue: slices.Clone(v)})
	}
	return out
}

// parse reads a message of the processor.
func parse(b []byte) (*answer, error) {
	var m extprocv3.ProcessingResponse
	if err := proto.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("the processor's message: %w", err)
	}
	return answerOf(&m), nil
}

// parseJSON reads an answer of a service of HTTP.
func parseJSON(b []byte) (*answer, error) {
	var m extprocv3.ProcessingResponse
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("the processor's answer: %w", err)
	}
	return answerOf(&m), nil
}

func answerOf(m *extprocv3.ProcessingResponse) *answer {
	a := &answer{}
	if t := m.GetOverrideMessageTimeout(); t != nil {
		if a.extends = true; t.IsValid() {
			a.timeout = t.AsDuration()
		}
		return a
	}
	if s := m.GetDynamicMetadata(); s != nil {
		a.metadata = s.AsMap()
	}
	if o := m.GetModeOverride(); o != nil {
		a.override = overrideOf(o)
	}
	switch r := m.GetResponse().(type) {
	case *extprocv3.ProcessingResponse_RequestHeaders:
		a.common(headers, true, r.RequestHeaders.GetResponse())
	case *extprocv3.ProcessingResponse_ResponseHeaders:
		a.common(headers, false, r.ResponseHeaders.GetResponse())
	case *extprocv3.ProcessingResponse_RequestBody:
		a.common(body, true, r.RequestBody.GetResponse())
	case *extprocv3.ProcessingResponse_ResponseBody:
		a.common(body, false, r.ResponseBody.GetResponse())
	case *extprocv3.ProcessingResponse_RequestTrailers:
		a.kind, a.request = trailers, true
		a.mutation(r.RequestTrailers.GetHeaderMutation())
	case *extprocv3.ProcessingResponse_ResponseTrailers:
		a.kind = trailers
		a.mutation(r.ResponseTrailers.GetHeaderMutation())
	case *extprocv3.ProcessingResponse_ImmediateResponse:
		a.reply(r.ImmediateResponse)
	}
	return a
}

func (a *answer) common(k kind, request bool, m *extprocv3.CommonResponse) {
	a.kind, a.request = k, request
	a.replaceAll = m.GetStatus() == extprocv3.CommonResponse_CONTINUE_AND_REPLACE
	a.clearRoute = m.GetClearRouteCache()
	a.mutation(m.GetHeaderMutation())
	switch b := m.GetBodyMutation().GetMutation().(type) {
	case *extprocv3.BodyMutation_Body:
		a.replaces, a.body = true, b.Body
	case *extprocv3.BodyMutation_ClearBody:
		a.replaces = b.ClearBody
	case *extprocv3.BodyMutation_StreamedResponse:
		a.streamed = true
		a.body, a.end = b.StreamedResponse.GetBody(), b.StreamedResponse.GetEndOfStream()
	}
}

func (a *answer) mutation(m *extprocv3.HeaderMutation) {
	if m == nil {
		return
	}
	a.mutates, a.remove = true, m.GetRemoveHeaders()
	for _, o := range m.GetSetHeaders() {
		if o.GetHeader() != nil {
			a.set = append(a.set, settingOf(o))
		}
	}
}

// settingOf reads how to set a field: to replace it, unless it says otherwise.
func settingOf(o *corev3.HeaderValueOption) setting {
	h := o.GetHeader()
	s := setting{name: strings.ToLower(h.GetKey()), value: h.GetValue(), ambiguous: h.GetValue() != "" && len(h.GetRawValue()) > 0}
	if raw := h.GetRawValue(); len(raw) > 0 {
		s.value = string(raw)
	}
	switch o.GetAppendAction() {
	case corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD:
		if o.GetAppend().GetValue() { //nolint:staticcheck // Deprecated, still sent.
			s.action = add
		}
	case corev3.HeaderValueOption_ADD_IF_ABSENT:
		s.action = addIfAbsent
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
		s.action = overwriteAny
	default:
		s.action = invalid
	}
	return s
}

func (a *answer) reply(m *extprocv3.ImmediateResponse) {
	a.kind = immediate
	a.status, a.body, a.details = int(m.GetStatus().GetCode()), m.GetBody(), m.GetDetails()
	a.mutation(m.GetHeaders())
	if g := m.GetGrpcStatus(); g != nil {
		a.hasGRPC, a.grpcStatus = true, int(g.GetStatus())
	}
}

// bodyModes are Envoy's names of the modes.
var bodyModes = [...]extprocfilterv3.ProcessingMode_BodySendMode{
	bodyNone:     extprocfilterv3.ProcessingMode_NONE,
	bodyStreamed: extprocfilterv3.ProcessingMode_STREAMED,
	bodyBuffered: extprocfilterv3.ProcessingMode_BUFFERED,
	bodyPartial:  extprocfilterv3.ProcessingMode_BUFFERED_PARTIAL,
	bodyDuplex:   extprocfilterv3.ProcessingMode_FULL_DUPLEX_STREAMED,
}

func bodyModeOf(m extprocfilterv3.ProcessingMode_BodySendMode) bodyMode {
	if i := slices.Index(bodyModes[:], m); i >= 0 {
		return bodyMode(i)
	}
	return bodyUnknown
}

func sendModeOf(m extprocfilterv3.ProcessingMode_HeaderSendMode) sendMode {
	switch m {
	case extprocfilterv3.ProcessingMode_SEND:
		return sendAlways
	case extprocfilterv3.ProcessingMode_SKIP:
		return sendNever
	}
	return sendDefault
}

func overrideOf(m *extprocfilterv3.ProcessingMode) *modeOverride {
	return &modeOverride{
		responseHeaders: sendModeOf(m.GetResponseHeaderMode()),
		requestTrailers: sendModeOf(m.GetRequestTrailerMode()), responseTrailers: sendModeOf(m.GetResponseTrailerMode()),
		requestBody: bodyModeOf(m.GetRequestBodyMode()), responseBody: bodyModeOf(m.GetResponseBodyMode()),
	}
}

// evaluate returns the values of attributes that there are, as a processor is told them:
// truth values, numbers of floating point and nothing as they are, all else as text.
func evaluate(list []attribute, d match.Data) map[string]any {
	var out map[string]any
	for _, a := range list {
		v, ok := a.program.Eval(d)
		if !ok {
			continue
		}
		told, ok := told(v.Value())
		if !ok {
			continue
		}
		if out == nil {
			out = map[string]any{}
		}
		out[a.name] = told
	}
	return out
}

func told(v any) (any, bool) {
	switch x := v.(type) {
	case bool, float64, nil:
		return x, true
	case structpb.NullValue:
		return nil, true
	case string:
		return clean(x), true
	case []byte:
		return clean(string(x)), true
	case fmt.Stringer:
		return x.String(), true
	case int64, uint64:
		return fmt.Sprint(x), true
	}
	return nil, false
}

// clean replaces what is not of UTF-8, which a string of protobuf must be.
func clean(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "!")
}

// merged returns the metadata of the namespaces: a stream's before its connection's.
func merged(namespaces []string, from ...map[string]map[string]any) map[string]map[string]any {
	var out map[string]map[string]any
	for _, ns := range namespaces {
		for _, m := range from {
			if v := m[ns]; v != nil {
				if out == nil {
					out = map[string]map[string]any{}
				}
				out[ns] = v
				break
			}
		}
	}
	return out
}
