// SPDX-License-Identifier: Apache-2.0

// Package grpc asks hosts whether they are well by gRPC's health checking protocol
// (envoy.health_checkers.grpc; grpc.health.v1.Health/Check).
package grpc

import (
	"encoding/binary"
	"errors"
	"io"
	"strconv"

	"weir.dev/weir/proxy/engine"
	"weir.dev/weir/proxy/grpcframe"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/proxy/streaminfo"
	"weir.dev/weir/proxy/upstream/health"
)

// checker is a compiled GrpcHealthCheck.
type checker struct {
	authority string
	metadata  *route.Headers
	request   []byte // the message in its frame
}

// appendRequest appends the frame of a HealthCheckRequest.
func appendRequest(b []byte, service string) []byte {
	at := len(b)
	b = append(b, make([]byte, grpcframe.HeadSize)...)
	if service != "" {
		b = binary.AppendUvarint(append(b, 1<<3|lengthType), uint64(len(service)))
		b = append(b, service...)
	}
	grpcframe.Seal(b, at, 0)
	return b
}

// serving is HealthCheckResponse.ServingStatus.SERVING.
const serving = 1

// The wire types of protobuf's encoding.
const (
	varintType = 0
	fixed64    = 1
	lengthType = 2
	fixed32    = 5
)

// parseResponse reads the status, field 1, of a HealthCheckResponse. Fields that it may
// have one day are skipped; groups, which it never will, are refused.
func parseResponse(b []byte) (status uint64, err error) {
	number := func() (v uint64) {
		n := 0
		if v, n = binary.Uvarint(b); n <= 0 {
			err = errMessage
			return 0
		}
		b = b[n:]
		return v
	}
	for len(b) > 0 && err == nil {
		skip := uint64(0)
		switch tag := number(); tag & 7 {
		case varintType:
			if v := number(); tag>>3 == 1 {
				status = v
			}
		case fixed64:
			skip = 8
		case lengthType:
			skip = number()
		case fixed32:
			skip = 4
		default:
			err = errMessage
		}
		if skip > uint64(len(b)) {
			err = errMessage
		}
		if err == nil {
			b = b[skip:]
		}
	}
	return status, err
}

// Session returns what asks one host.
func (c *checker) Session(p *health.Probe) health.Session {
	return &session{checker: c, probe: p, client: p.Client(health.SpeakHTTP2, false)}
}

type session struct {
	*checker
	probe  *health.Probe
	client *health.Client
}

// Close closes the connection that is kept.
func (s *session) Close() { s.client.Close() }

// Check makes one call.
func (s *session) Check(t *engine.Task) (health.Result, error) {
	var h header.Map
	h.Add(header.Method, "POST")
	h.Add(header.Scheme, "http")
	if s.probe.Secure() {
		h.Set(header.Scheme, "https")
	}
	h.Add(header.Path, "/grpc.health.v1.Health/Check")
	h.Add(header.Authority, s.probe.Name(s.authority))
	h.Add(header.TE, "trailers")
	h.Add(header.ContentType, "application/grpc")
	h.Add(header.UserAgent, "Envoy/HC")
	host := s.probe.Host()
	info := &streaminfo.Stream{}
	info.Upstream.HostName, info.Upstream.HostAddress, info.Upstream.HostMetadata, info.Upstream.Locality = host.Hostname, host.Address, host.Metadata, host.Locality
	info.ClusterName = host.Cluster.Name
	s.metadata.Apply(&h, info)
	// At most eight digits: a time-out of more than a day says nothing.
	ms := min(max(s.probe.Config().Timeout.Milliseconds(), 1), 99999999)
	h.Set(header.GRPCTimeout, strconv.FormatInt(ms, 10)+"m")
	return s.client.Do(t, &stream.Message{Header: &h, Body: stream.NewBytes(s.request), Length: -1}, judge)
}

// maxMessage bounds an answer, which is one number.
const maxMessage = 4 << 10

var errMessage = errors.New("the answer is no HealthCheckResponse")

// judge tells what an answer says of its host. Whatever is answered, but for SERVING, is
// that it is not well.
func judge(r *health.Response) (health.Result, error) {
	res := health.Result{Verdict: health.Failed}
	if r.Status != 200 || !stream.IsGRPC(r.Header.Get(header.ContentType)) {
		return res, nil
	}
	if r.Body == nil {
		return res, nil // Only a status: no answer to the question.
	}
	status, err := message(r)
	switch {
	case errors.Is(err, errMessage):
		return res, nil
	case err != nil:
		return res, err
	}
	if code, ok := stream.ParseGRPCStatus(trailer(r)); ok && code == 0 && status == serving {
		res.Verdict = health.Passed
	}
	return res, nil
}

func trailer(r *health.Response) []byte {
	if r.Trailer == nil {
		return nil
	}
	return r.Trailer.Get(header.GRPCStatus)
}

// message reads the one message of an answer, to the end of its body.
func message(r *health.Response) (status uint64, err error) {
	d := grpcframe.Decoder{Max: maxMessage}
	for n := 0; ; {
		p, err := r.Body.Next()
		if err != nil && err != io.EOF {
			return 0, err
		}
		for len(p) > 0 {
			f, used, ok, e := d.Next(p)
			if e != nil {
				return 0, errMessage
			}
			p = p[used:]
			if !ok {
				continue
			}
			n++
			if status, e = parseResponse(f.Data); e != nil || f.Flags != 0 || n > 1 {
				return 0, errMessage
			}
		}
		if err == io.EOF {
			r.Body = nil
			if n == 0 {
				return 0, errMessage
			}
			return status, nil
		}
	}
}
