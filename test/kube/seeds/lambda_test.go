// SPDX-License-Identifier: Apache-2.0

package seeds

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"weir.dev/weir/proxy/aws/awstest"
	"weir.dev/weir/test/kube/kubetest"
)

const (
	audience = "sts.amazonaws.com"
	role     = "arn:aws:iam::123456789012:role/eksctl-eksworkshop-addon-iamserviceaccount-default-hello-envoy-lambda"
)

// testLambda applies what the document applies, and calls the function through the Service: the file of the ConfigMap
// is the document's to the letter, the name of Lambda's API is found by DNS, and the proxy gets its keys for a token
// of its service account, which the cluster itself says is good.
func testLambda(t *testing.T, c kubetest.Cluster) {
	const example = "examples/seeds/000-envoy-lambda/"
	account := awstest.NewAccount()
	issuer := awstest.NewIssuerAt(t, account, tokenAddress+":80")
	issuer.Judge(func(token string) error { return review(t.Context(), c, token) })
	api := awstest.NewLambdaAt(t, account, true, lambdaAddress+":443")
	api.Add("hello-envoy-lambda", awstest.Python(t, kubetest.Path(example)))
	c.ApplyFiles(t, example+"service-account.yaml")
	identify(t, c, issuer.URL)

	configMap(t, c, "config-envoy-lambda", example+"envoy.yaml")
	c.ApplyFiles(t, example+"envoy-lambda-eks.yaml")
	pod := c.Running(t, "default", "envoy-lambda")
	var endpoint string
	c.Until(t, "the load balancer's address", func(ctx context.Context) error {
		s, err := c.Client.CoreV1().Services("default").Get(ctx, "service-envoy-lambda", metav1.GetOptions{})
		if err != nil || len(s.Status.LoadBalancer.Ingress) == 0 {
			return fmt.Errorf("it has none: %w", err)
		}
		endpoint = "http://" + s.Status.LoadBalancer.Ingress[0].IP + ":10000"
		return nil
	})

	const data, want = `{"data":"this is test!"}`, `200 "hello envoy with lambda. body is {\"data\":\"this is test!\"}"`
	a := until(t, c, want, "POST", endpoint, data, "Content-Type", "application/json", "Host", "lambda")
	if kind := a.header.Get("Content-Type"); kind != "application/json" {
		t.Errorf("the answer's type is %q", kind)
	}
	if names := api.ServerNames(); len(names) == 0 || names[0] != "*.amazonaws.com" {
		t.Errorf("asked for over TLS: %q", names)
	}
	if calls := api.Calls(); calls[0].Key != "STS1" || calls[0].Host != "lambda" || calls[0].Header.Get("X-Iwant-Host") != "lambda.us-east-1.amazonaws.com" {
		t.Errorf("%+v", calls)
	}
	if asked := issuer.Asked(); !strings.HasPrefix(asked[0], "AssumeRoleWithWebIdentity "+role+" ") {
		t.Errorf("asked: %q", asked)
	}
	c.Until(t, "the access log", func(ctx context.Context) error {
		text, err := c.Output(ctx, "default", pod, "envoy-lambda")
		if err == nil && !strings.Contains(text, ` HTTP/1.1" 200 - `) {
			err = errors.New(text)
		}
		return err
	})
}

// review asks the cluster whether a token is one of the proxy's, for AWS.
func review(ctx context.Context, c kubetest.Cluster, token string) error {
	r := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{audience}}}
	r, err := c.Client.AuthenticationV1().TokenReviews().Create(ctx, r, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if s := r.Status; !s.Authenticated || s.User.Username != "system:serviceaccount:default:hello-envoy-lambda" || !slices.Equal(s.Audiences, []string{audience}) {
		return fmt.Errorf("the token is %+v", s)
	}
	return nil
}

// identify has Pods be told who they are to AWS, as EKS does: by a webhook, from the role that an annotation of their
// service account names. It returns once Pods are.
func identify(t *testing.T, c kubetest.Cluster, tokenService string) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		review := &admissionv1.AdmissionReview{}
		pod := &corev1.Pod{}
		err := json.NewDecoder(q.Body).Decode(review)
		if err == nil {
			err = json.Unmarshal(review.Request.Object.Raw, pod)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		owner, err := c.Client.CoreV1().ServiceAccounts(review.Request.Namespace).Get(q.Context(), pod.Spec.ServiceAccountName, metav1.GetOptions{})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if arn := owner.Annotations["eks.amazonaws.com/role-arn"]; arn != "" {
			identity(&pod.Spec, arn, tokenService)
			patch, err := json.Marshal([]map[string]any{{"op": "replace", "path": "/spec", "value": pod.Spec}})
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			review.Response.Patch, review.Response.PatchType = patch, ptr.To(admissionv1.PatchTypeJSONPatch)
		}
		_ = json.NewEncoder(w).Encode(review) // The apiserver refuses the Pod otherwise.
	}))
	t.Cleanup(s.Close)
	webhook, err := yaml.Marshal(map[string]any{
		"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": map[string]any{"name": "pod-identity-webhook"},
		"webhooks": []any{map[string]any{
			"name": "pod-identity-webhook.amazonaws.com", "sideEffects": "None", "admissionReviewVersions": []string{"v1"},
			"clientConfig": map[string]any{"url": s.URL, "caBundle": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})},
			"rules":        []any{map[string]any{"apiGroups": []string{""}, "apiVersions": []string{"v1"}, "operations": []string{"CREATE"}, "resources": []string{"pods"}}},
			"objectSelector": map[string]any{"matchExpressions": []any{
				map[string]any{"key": "app", "operator": "In", "values": []string{"envoy-lambda"}},
			}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Apply(t, string(webhook))
	c.Until(t, "Pods to be told who they are", func(ctx context.Context) error {
		probe := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "probe", Labels: map[string]string{"app": "envoy-lambda"}},
			Spec:       corev1.PodSpec{ServiceAccountName: "hello-envoy-lambda", Containers: []corev1.Container{{Name: "probe", Image: "probe"}}},
		}
		made, err := c.Client.CoreV1().Pods("default").Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil && len(made.Spec.Containers[0].Env) == 0 {
			err = errors.New("they are not")
		}
		return err
	})
}

// identity adds to a Pod what the webhook of EKS adds, and where the Security Token Service is.
func identity(spec *corev1.PodSpec, arn, tokenService string) {
	const dir, name = "/var/run/secrets/eks.amazonaws.com/serviceaccount", "aws-iam-token"
	spec.Volumes = append(spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: audience, ExpirationSeconds: ptr.To[int64](86400), Path: "token"}}},
	}}})
	for i := range spec.Containers {
		k := &spec.Containers[i]
		k.VolumeMounts = append(k.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: dir, ReadOnly: true})
		k.Env = append(k.Env,
			corev1.EnvVar{Name: "AWS_DEFAULT_REGION", Value: "us-east-1"}, corev1.EnvVar{Name: "AWS_REGION", Value: "us-east-1"},
			corev1.EnvVar{Name: "AWS_STS_REGIONAL_ENDPOINTS", Value: "regional"}, corev1.EnvVar{Name: "AWS_ENDPOINT_URL_STS", Value: tokenService},
			corev1.EnvVar{Name: "AWS_ROLE_ARN", Value: arn}, corev1.EnvVar{Name: "AWS_WEB_IDENTITY_TOKEN_FILE", Value: dir + "/token"},
		)
	}
}
