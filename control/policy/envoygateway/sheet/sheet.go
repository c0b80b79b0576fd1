// SPDX-License-Identifier: Apache-2.0

// Package sheet reads the values that objects of Envoy Gateway are made of, and collects
// what is wrong with them.
package sheet

import (
	"fmt"
	"math"
	"reflect"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/attach"
	"weir.dev/weir/control/graph"
)

// A Sheet collects what is wrong with an object. Paths are of fields of its spec, such as
// "timeout.http.requestTimeout".
type Sheet struct {
	// Refused are reasons not to take the object, Notes are of what is not honoured.
	Refused, Notes []graph.Problem
}

// Verdict is what was collected.
func (s *Sheet) Verdict() attach.Verdict {
	return attach.Verdict{Refused: s.Refused, Notes: s.Notes}
}

// Bad tells of a field for which the object cannot be taken.
func (s *Sheet) Bad(path, format string, args ...any) {
	s.Refused = append(s.Refused, graph.Problem{Path: "spec." + path, Reason: string(gwapiv1.PolicyReasonInvalid), Message: fmt.Sprintf(format, args...)})
}

// Note tells of what is not honoured.
func (s *Sheet) Note(path, format string, args ...any) {
	s.Notes = append(s.Notes, graph.Problem{Path: "spec." + path, Reason: graph.Unsupported, Message: fmt.Sprintf(format, args...)})
}

// Unsupported notes a field, if it is given.
func (s *Sheet) Unsupported(path string, value any, why string) {
	if v := reflect.ValueOf(value); v.IsValid() && !v.IsZero() {
		s.Note(path, "is not supported: %s", why)
	}
}

// Duration reads a duration; nil for none.
func (s *Sheet) Duration(path string, d *gwapiv1.Duration) *durationpb.Duration {
	if d == nil {
		return nil
	}
	out, err := time.ParseDuration(string(*d))
	if err != nil || out < 0 {
		s.Bad(path, "%q is not a duration, such as 10s or 500ms", *d)
		return nil
	}
	return durationpb.New(out)
}

// Positive is a duration that is at least some: less is refused by proxies.
func (s *Sheet) Positive(path string, d *gwapiv1.Duration, least time.Duration) *durationpb.Duration {
	out := s.Duration(path, d)
	if out != nil && out.AsDuration() < least {
		s.Bad(path, "%s is less than %s", *d, least)
		return nil
	}
	return out
}

// Size reads a number of bytes; nil for none.
func (s *Sheet) Size(path string, q *resource.Quantity) *wrapperspb.UInt32Value {
	if q == nil {
		return nil
	}
	n := q.Value()
	if n < 0 || n > math.MaxUint32 || q.MilliValue() != 1000*n {
		s.Bad(path, "%s is not a size from 0 to 4Gi in whole bytes", q.String())
		return nil
	}
	return wrapperspb.UInt32(uint32(n))
}

// Percent reads a fraction, in percent; otherwise if there is none.
func (s *Sheet) Percent(path string, f *gwapiv1.Fraction, otherwise float64) float64 {
	if f == nil {
		return otherwise
	}
	of := ptr.Deref(f.Denominator, 100)
	if f.Numerator < 0 || of < 1 || f.Numerator > of {
		s.Bad(path, "%d/%d is not a fraction from 0 to 1", f.Numerator, of)
		return otherwise
	}
	return 100 * float64(f.Numerator) / float64(of)
}

// StatusOnError reads the status of requests that could not be asked about; 0 is none.
func (s *Sheet) StatusOnError(path string, status *int32) uint32 {
	n := ptr.Deref(status, 0)
	if status != nil && (n < 400 || n > 599) {
		s.Bad(path, "%d is not a status from 400 to 599", n)
	}
	return uint32(max(0, n))
}

// Routing reads where requests for Services go, as attach.Effect has it.
func (s *Sheet) Routing(kind *string) string {
	out := ptr.Deref(kind, "")
	if out != "" && out != attach.RoutingService && out != attach.RoutingEndpoint {
		s.Bad("routingType", "is %q: there are Endpoint and Service", out)
	}
	return out
}
