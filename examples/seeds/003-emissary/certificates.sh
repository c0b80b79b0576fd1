#!/bin/sh
# Makes a CA and a certificate for *.wadexu.cloud, valid for 30 days, in the folder certs of DIR (default: this folder),
# and the Secret that kubectl create secret tls would make of it, in secret.yaml.
set -eu
mkdir -p "${1:-$(dirname "$0")}/certs"
cd "${1:-$(dirname "$0")}/certs"

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
	-subj '/CN=Example CA' -keyout ca.key -out ca.crt
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=wadexu' \
	-addext 'subjectAltName=DNS:*.wadexu.cloud' -keyout tls.key -out tls.csr
openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -copy_extensions copy -days 30 -out tls.crt
rm tls.csr

cat > ../secret.yaml <<END
apiVersion: v1
kind: Secret
metadata: {name: tls-secret, namespace: secret}
type: kubernetes.io/tls
data:
  tls.crt: $(base64 < tls.crt | tr -d '\n')
  tls.key: $(base64 < tls.key | tr -d '\n')
END
