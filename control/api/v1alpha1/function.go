// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// A Function is a function of the Fn Project or of AWS Lambda, to which routes can refer
// as they do to a Service.
type Function struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec FunctionSpec `json:"spec"`
}

// FunctionSpec has exactly one of its fields.
type FunctionSpec struct {
	Fn     *FnFunction     `json:"fn,omitempty"`
	Lambda *LambdaFunction `json:"lambda,omitempty"`
}

// FnFunction is a function of the Fn Project. Exactly one of Route, Trigger and ID says
// by which API it is called.
type FnFunction struct {
	// Server has the function.
	Server FunctionServer `json:"server"`
	// App is the application of a route or a trigger.
	App *string `json:"app,omitempty"`
	// Route is a function's path in its application, for servers of 2018: /r/APP/ROUTE.
	Route *string `json:"route,omitempty"`
	// Trigger is the source of an HTTP trigger: /t/APP/SOURCE.
	Trigger *string `json:"trigger,omitempty"`
	// ID is a function's own: POST /invoke/ID.
	ID *string `json:"id,omitempty"`
	// Invocation is Sync, the default, or Detached: the server answers at once.
	Invocation *string `json:"invocation,omitempty"`
	// AppendPath has the rest of the request's path follow the route or the trigger's
	// source; the default is false.
	AppendPath *bool `json:"appendPath,omitempty"`
	// Passthrough leaves the request's head as it is, and the response; the default is
	// false.
	Passthrough *bool `json:"passthrough,omitempty"`
	// ClientAddress sets x-real-ip and x-forwarded-for to the client's address alone; the
	// default is false.
	ClientAddress *bool `json:"clientAddress,omitempty"`
	// MaxRequestBytes is the longest body that is sent; the default leaves it to the server.
	MaxRequestBytes *int64 `json:"maxRequestBytes,omitempty"`
	// Timeout of a call, as a duration; the default is 30s, as Fn's own is.
	Timeout *string `json:"timeout,omitempty"`
	// Placement is Any, the default, or Consistent: all calls go to the same server, as
	// long as it is there, so that the function is warm.
	Placement *string `json:"placement,omitempty"`
	// Retries is how many further servers are asked where one is busy; the default is 2
	// where Placement is Consistent, otherwise 0. Above 0 they take the place of the retry
	// of routes' rules.
	Retries *int32 `json:"retries,omitempty"`
}

// FunctionServer is a backend by its name, or a URL.
type FunctionServer struct {
	// Group and Kind are those of a Service, the default, a ServiceImport or a Backend.
	Group *string `json:"group,omitempty"`
	Kind  *string `json:"kind,omitempty"`
	// Namespace is the Function's by default; another needs a ReferenceGrant.
	Namespace *string `json:"namespace,omitempty"`
	Name      *string `json:"name,omitempty"`
	Port      *int32  `json:"port,omitempty"`
	// URL is http://HOST:PORT, or https.
	URL *string `json:"url,omitempty"`
}

// LambdaFunction is a function of AWS Lambda.
type LambdaFunction struct {
	// ARN names the function, its region and, if need be, a version or alias.
	ARN string `json:"arn"`
	// URL of Lambda's API; the default is that of the ARN's region.
	URL *string `json:"url,omitempty"`
	// Credentials are those of the proxy's environment by default.
	Credentials *LambdaCredentials `json:"credentials,omitempty"`
	// Invocation is Sync, the default, or Detached: Lambda answers at once.
	Invocation *string `json:"invocation,omitempty"`
	// Passthrough sends and returns bodies as they are; the default is false.
	Passthrough *bool `json:"passthrough,omitempty"`
	// Timeout of an invocation, as a duration; the default is 30s.
	Timeout *string `json:"timeout,omitempty"`
}

// LambdaCredentials have exactly one of their fields.
type LambdaCredentials struct {
	// Profile of the proxy's credentials file.
	Profile *string `json:"profile,omitempty"`
	// SecretRef is a Secret of the Function's namespace, with the keys aws_access_key_id,
	// aws_secret_access_key and, for temporary credentials, aws_session_token.
	SecretRef *SecretName `json:"secretRef,omitempty"`
}

// SecretName names a Secret.
type SecretName struct {
	Name string `json:"name"`
}

// DeepCopyObject returns a copy that shares nothing.
func (f *Function) DeepCopyObject() runtime.Object {
	out := &Function{TypeMeta: f.TypeMeta, ObjectMeta: *f.ObjectMeta.DeepCopy()}
	if s := f.Spec.Fn; s != nil {
		v := s.Server
		out.Spec.Fn = &FnFunction{
			Server: FunctionServer{clone(v.Group), clone(v.Kind), clone(v.Namespace), clone(v.Name), clone(v.Port), clone(v.URL)},
			App:    clone(s.App), Route: clone(s.Route), Trigger: clone(s.Trigger), ID: clone(s.ID), Invocation: clone(s.Invocation),
			AppendPath: clone(s.AppendPath), Passthrough: clone(s.Passthrough), ClientAddress: clone(s.ClientAddress),
			MaxRequestBytes: clone(s.MaxRequestBytes), Timeout: clone(s.Timeout), Placement: clone(s.Placement), Retries: clone(s.Retries),
		}
	}
	if s := f.Spec.Lambda; s != nil {
		c := s.Credentials
		if c != nil {
			c = &LambdaCredentials{clone(c.Profile), clone(c.SecretRef)}
		}
		out.Spec.Lambda = &LambdaFunction{s.ARN, clone(s.URL), c, clone(s.Invocation), clone(s.Passthrough), clone(s.Timeout)}
	}
	return out
}
