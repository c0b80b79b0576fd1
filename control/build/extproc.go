// SPDX-License-Identifier: Apache-2.0

package build

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// A Processor is a service of gRPC that sees requests and responses, and changes them.
type Processor struct {
	Cluster string
	// Retry says when a stream to it is begun again; nil is never.
	Retry *corev3.RetryPolicy
	// Timeout is how long a message may wait for its answer; 0 is the filter's own, 200 ms.
	Timeout time.Duration
	// Request and Response are what it sees; nil is nothing of a direction.
	Request, Response *Processing
	// Override lets it say what else it wants to see.
	Override bool
	// FailOpen lets requests go on without it. Status (0 is 500) is what the others of these
	// are answered.
	FailOpen bool
	Status   uint32
	// Observe has it see messages that do not wait for it.
	Observe bool
	// Told are the namespaces of dynamic metadata that it is told, Taken those that it may
	// write.
	Told, Taken []string
}

// Processing is what a Processor sees of one direction besides headers.
type Processing struct {
	// Body is a BodySendMode of the filter, such as STREAMED.
	Body extprocfilterv3.ProcessingMode_BodySendMode
	// Attributes are expressions whose values it is told.
	Attributes []string
}

// Bodies are the ways in which a Processor sees bodies, as objects name them.
func Bodies() map[string]extprocfilterv3.ProcessingMode_BodySendMode {
	return map[string]extprocfilterv3.ProcessingMode_BodySendMode{
		"Streamed": extprocfilterv3.ProcessingMode_STREAMED, "Buffered": extprocfilterv3.ProcessingMode_BUFFERED,
		"BufferedPartial": extprocfilterv3.ProcessingMode_BUFFERED_PARTIAL, "FullDuplexStreamed": extprocfilterv3.ProcessingMode_FULL_DUPLEX_STREAMED,
	}
}

// modes are those of headers, body and trailers.
func (p *Processing) modes() (headers extprocfilterv3.ProcessingMode_HeaderSendMode, body extprocfilterv3.ProcessingMode_BodySendMode, trailers extprocfilterv3.ProcessingMode_HeaderSendMode) {
	if p == nil {
		return extprocfilterv3.ProcessingMode_SKIP, extprocfilterv3.ProcessingMode_NONE, extprocfilterv3.ProcessingMode_SKIP
	}
	trailers = extprocfilterv3.ProcessingMode_SKIP
	if p.Body == extprocfilterv3.ProcessingMode_FULL_DUPLEX_STREAMED {
		trailers = extprocfilterv3.ProcessingMode_SEND // The filter asks for it.
	}
	return extprocfilterv3.ProcessingMode_SEND, p.Body, trailers
}

// Filter is the filter.
func (p Processor) Filter() *extprocfilterv3.ExternalProcessor {
	m := &extprocfilterv3.ProcessingMode{}
	m.RequestHeaderMode, m.RequestBodyMode, m.RequestTrailerMode = p.Request.modes()
	m.ResponseHeaderMode, m.ResponseBodyMode, m.ResponseTrailerMode = p.Response.modes()
	out := &extprocfilterv3.ExternalProcessor{
		GrpcService: &corev3.GrpcService{
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: p.Cluster}}, RetryPolicy: p.Retry,
		},
		ProcessingMode: m, AllowModeOverride: p.Override, FailureModeAllow: p.FailOpen, ObservabilityMode: p.Observe,
	}
	if p.Request != nil {
		out.RequestAttributes = p.Request.Attributes
	}
	if p.Response != nil {
		out.ResponseAttributes = p.Response.Attributes
	}
	if p.Timeout > 0 {
		out.MessageTimeout = duration(p.Timeout)
	}
	if p.Status != 0 {
		out.StatusOnError = &typev3.HttpStatus{Code: typev3.StatusCode(p.Status)}
	}
	if len(p.Told)+len(p.Taken) > 0 {
		out.MetadataOptions = &extprocfilterv3.MetadataOptions{ForwardingNamespaces: namespaces(p.Told), ReceivingNamespaces: namespaces(p.Taken)}
	}
	return out
}

func namespaces(list []string) *extprocfilterv3.MetadataOptions_MetadataNamespaces {
	if len(list) == 0 {
		return nil
	}
	return &extprocfilterv3.MetadataOptions_MetadataNamespaces{Untyped: list}
}

// Process has a route's requests seen by a filter's processor.
func Process() *anypb.Any {
	return Any(&extprocfilterv3.ExtProcPerRoute{Override: &extprocfilterv3.ExtProcPerRoute_Overrides{Overrides: &extprocfilterv3.ExtProcOverrides{}}})
}
