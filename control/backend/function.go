// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"cmp"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	awslambdav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/aws_lambda/v3"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/api/v1alpha1"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
	"weir.dev/weir/internal/memo"
)

// callTimeout is how long a call of a function may take, unless it says otherwise:
// as Fn has it.
const callTimeout = 30 * time.Second

// busyRetries is how many other servers are asked by default where all calls go to one.
const busyRetries = 2

// Words of Functions.
const (
	detached   = "Detached"
	consistent = "Consistent"
)

// target is where a Function is called.
type target struct {
	server graph.ClusterID
	// name, if it is not empty, is that of a server which is spoken to in TLS.
	name string
}

// resolveFunction returns the cluster of a Function, or what is wrong with it.
func (b *Backends) resolveFunction(c *memo.Ctx, r Ref, key source.Key) (graph.ClusterID, *graph.Problem) {
	o, ok := source.Get[*v1alpha1.Function](c, source.Function, key.Name)
	if !ok {
		return graph.ClusterID{}, &graph.Problem{Reason: string(gwapiv1.RouteReasonBackendNotFound), Message: fmt.Sprintf("there is no %s", key)}
	}
	if r.Mode != graph.HTTP || r.UDP {
		return graph.ClusterID{}, &graph.Problem{
			Reason:  string(gwapiv1.RouteReasonUnsupportedProtocol),
			Message: fmt.Sprintf("%s is called by requests of HTTP, and %s forwards others: refer to it from an HTTPRoute", key, source.A(r.From.Kind)),
		}
	}
	_, problem := b.targetOf(c, o)
	if problem == nil {
		_, problem = b.callsOf(c, o)
	}
	if problem != nil {
		problem.Message = key.String() + ": " + problem.Message
		return graph.ClusterID{}, problem
	}
	return graph.ClusterID{Backend: key}, nil
}

// targetOf returns where a Function is called.
func (b *Backends) targetOf(c *memo.Ctx, o *v1alpha1.Function) (target, *graph.Problem) {
	switch {
	case o.Spec.Fn != nil && o.Spec.Fn.Server.URL != nil:
		return byURL("spec.fn.server.url", *o.Spec.Fn.Server.URL)
	case o.Spec.Fn != nil:
		id, problem := b.Resolve(c, serverOf(o))
		if problem != nil {
			problem.Message = "spec.fn.server: " + problem.Message
		}
		return target{server: id}, problem
	case o.Spec.Lambda != nil && o.Spec.Lambda.URL != nil:
		return byURL("spec.lambda.url", *o.Spec.Lambda.URL)
	case o.Spec.Lambda != nil:
		return byURL("spec.lambda.arn", "https://"+lambdaHost(o.Spec.Lambda.ARN))
	}
	return target{}, unsupported("it says neither spec.fn nor spec.lambda, so it is no function: set one")
}

func unsupported(format string, args ...any) *graph.Problem {
	return &graph.Problem{Reason: string(gwapiv1.RouteReasonUnsupportedValue), Message: fmt.Sprintf(format, args...)}
}

// serverOf is the reference to a server that is a backend.
func serverOf(o *v1alpha1.Function) Ref {
	s := o.Spec.Fn.Server
	to := gwapiv1.BackendObjectReference{Name: gwapiv1.ObjectName(text(s.Name)), Port: (*gwapiv1.PortNumber)(s.Port), Namespace: (*gwapiv1.Namespace)(s.Namespace)}
	kind := cmp.Or(text(s.Kind), source.Service.Kind)
	group := text(s.Group)
	if s.Group == nil {
		group = map[string]string{source.Backend.Kind: source.Backend.Group, source.ServiceImport.Kind: source.ServiceImport.Group}[kind]
	}
	to.Kind, to.Group = (*gwapiv1.Kind)(&kind), (*gwapiv1.Group)(&group)
	return Ref{From: source.Function, Namespace: o.Namespace, To: to}
}

// byURL returns a server that is named by a URL, in a field.
func byURL(field, text string) (target, *graph.Problem) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return target{}, unsupported("%s: %q is not a URL of a server: write http://HOST:PORT, or https", field, text)
	}
	port := 80
	if u.Scheme == "https" {
		port = 443
	}
	if p := u.Port(); p != "" {
		if port, err = strconv.Atoi(p); err != nil || port < 1 || port > 65535 {
			return target{}, unsupported("%s: %s is not the number of a port", field, p)
		}
	}
	t := target{server: Named(u.Hostname(), int32(port), graph.HTTP)}
	if u.Scheme == "https" {
		t.name = u.Hostname()
	}
	return t, nil
}

// lambdaHost is where Lambda's API of a function's region is.
func lambdaHost(arn string) string {
	parts := strings.Split(arn, ":")
	const partition, region = 1, 3
	if len(parts) <= region {
		return ""
	}
	host := "lambda." + parts[region] + ".amazonaws.com"
	if parts[partition] == "aws-cn" {
		host += ".cn"
	}
	return host
}

// callsOf says how a Function is called.
func (b *Backends) callsOf(c *memo.Ctx, o *v1alpha1.Function) (build.Calls, *graph.Problem) {
	if s := o.Spec.Lambda; s != nil {
		return lambdaCalls(c, o.Namespace, s)
	}
	s := o.Spec.Fn
	out, problem := build.Calls{}, (*graph.Problem)(nil)
	if out.Timeout, problem = timeoutOf("spec.fn.timeout", s.Timeout); problem != nil {
		return out, problem
	}
	fields := map[string]any{}
	for name, v := range map[string]*string{"app": s.App, "route": s.Route, "trigger": s.Trigger, "id": s.ID} {
		if v != nil {
			fields[name] = *v
		}
	}
	for name, on := range map[string]bool{
		"detached": text(s.Invocation) == detached, "append_path": isTrue(s.AppendPath), "passthrough": isTrue(s.Passthrough), "client_address": isTrue(s.ClientAddress),
	} {
		if on {
			fields[name] = true
		}
	}
	if s.MaxRequestBytes != nil {
		fields["max_request_bytes"] = *s.MaxRequestBytes
	}
	out.Filter = build.Fn(fields)
	if text(s.Placement) == consistent {
		out.Key, out.Retries = o.Namespace+"/"+o.Name, busyRetries
	}
	if s.Retries != nil {
		out.Retries = uint32(max(0, *s.Retries))
	}
	return out, nil
}

func isTrue(p *bool) bool { return p != nil && *p }

func timeoutOf(field string, d *string) (time.Duration, *graph.Problem) {
	if d == nil {
		return callTimeout, nil
	}
	out, err := time.ParseDuration(*d)
	if err != nil || out < 0 {
		return 0, unsupported("%s: %q is not a duration, such as 10s or 500ms", field, *d)
	}
	return out, nil
}

// lambdaCalls says how a function of Lambda is called.
func lambdaCalls(c *memo.Ctx, namespace string, s *v1alpha1.LambdaFunction) (build.Calls, *graph.Problem) {
	timeout, problem := timeoutOf("spec.lambda.timeout", s.Timeout)
	if problem != nil {
		return build.Calls{}, problem
	}
	m := &awslambdav3.Config{Arn: s.ARN, PayloadPassthrough: isTrue(s.Passthrough), HostRewrite: lambdaHost(s.ARN)}
	if text(s.Invocation) == detached {
		m.InvocationMode = awslambdav3.Config_ASYNCHRONOUS
	}
	if s.URL != nil {
		if u, err := url.Parse(*s.URL); err == nil {
			m.HostRewrite = u.Host
		}
	}
	if from := s.Credentials; from != nil {
		m.CredentialsProfile = text(from.Profile)
		if from.SecretRef != nil {
			name := source.Name{Namespace: namespace, Name: from.SecretRef.Name}
			if m.Credentials = keysOf(c, name); m.Credentials == nil {
				return build.Calls{}, &graph.Problem{
					Reason: string(gwapiv1.RouteReasonBackendNotFound), Message: fmt.Sprintf(
						"spec.lambda.credentials.secretRef: there is no Secret %s with aws_access_key_id and aws_secret_access_key", name),
				}
			}
		}
	}
	return build.Calls{Filter: build.Lambda(m), Timeout: timeout}, nil
}

// keysOf reads credentials; nil if they are not there.
func keysOf(c *memo.Ctx, name source.Name) *awslambdav3.Credentials {
	s, ok := source.Get[*corev1.Secret](c, source.Secret, name)
	if !ok {
		return nil
	}
	of := func(key string) string { return string(s.Data[key]) }
	out := &awslambdav3.Credentials{AccessKeyId: of("aws_access_key_id"), SecretAccessKey: of("aws_secret_access_key"), SessionToken: of("aws_session_token")}
	if out.AccessKeyId == "" || out.SecretAccessKey == "" {
		return nil
	}
	return out
}

// makeFunction makes the cluster of a Function: that of its server, by which calls go.
func (b *Backends) makeFunction(c *memo.Ctx, id graph.ClusterID) *clusterv3.Cluster {
	o, ok := source.Get[*v1alpha1.Function](c, source.Function, id.Backend.Name)
	if !ok {
		return nil
	}
	to, problem := b.targetOf(c, o)
	if problem != nil {
		return nil
	}
	calls, problem := b.callsOf(c, o)
	if problem != nil {
		return nil
	}
	to.server.Certificate, to.server.Spread = id.Certificate, id.Spread
	of := b.cluster.Get(c, to.server)
	if of == nil {
		return nil
	}
	out := proto.CloneOf(of)
	out.Name = id.Name()
	if out.LoadAssignment != nil {
		out.LoadAssignment.ClusterName = out.Name
	}
	if out.EdsClusterConfig != nil {
		out.EdsClusterConfig.ServiceName = ""
		if own := endpointsOf(id).Name(); own != out.Name {
			out.EdsClusterConfig.ServiceName = own
		}
	}
	if to.name != "" {
		out.TransportSocket = build.UpstreamTLS{ServerName: to.name}.TransportSocket()
	}
	calls.Apply(out)
	return out
}

// functionEndpoints are those of a Function's server; nil if its cluster has them itself.
func (b *Backends) functionEndpoints(c *memo.Ctx, id endpointsID) *endpointv3.ClusterLoadAssignment {
	o, ok := source.Get[*v1alpha1.Function](c, source.Function, id.of.Name)
	if !ok {
		return nil
	}
	to, problem := b.targetOf(c, o)
	if problem != nil {
		return nil
	}
	to.server.Spread = id.spread
	of := b.endpoints.Get(c, endpointsOf(to.server))
	if of == nil {
		return nil
	}
	out := proto.CloneOf(of)
	out.ClusterName = id.Name()
	return out
}

// functionTLS reports whether the server of a Function is spoken to in TLS by a policy.
func (b *Backends) functionTLS(c *memo.Ctx, id graph.ClusterID) bool {
	o, ok := source.Get[*v1alpha1.Function](c, source.Function, id.Backend.Name)
	if !ok {
		return false
	}
	to, problem := b.targetOf(c, o)
	return problem == nil && b.TLS(c, to.server)
}
