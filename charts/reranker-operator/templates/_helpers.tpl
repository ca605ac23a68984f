{{- define "reranker.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "reranker.account" -}}
{{- .Values.serviceAccount.name | default (include "reranker.name" .) -}}
{{- end }}

{{- /* NetworkPolicies of services let in pods with this name, whatever the release is called. */ -}}
{{- define "reranker.selector" -}}
app.kubernetes.io/name: reranker-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "reranker.labels" -}}
{{- $labels := include "reranker.selector" . | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/version" .Chart.AppVersion -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_")) -}}
{{- merge $labels (.Values.commonLabels | default dict) | toYaml -}}
{{- end }}

{{- /* A reference of an image: (dict "image" ... "root" $) */ -}}
{{- define "reranker.image" -}}
{{- $image := .image -}}
{{- $name := $image.repository -}}
{{- if $image.registry }}{{ $name = printf "%s/%s" $image.registry $name }}{{ end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name ($image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end }}

{{- /* The name of a Secret of `secrets` that is there or is made, else nothing: (dict "secrets" ... "kind" ... "value" ...) */ -}}
{{- define "reranker.secret" -}}
{{- $secret := index .secrets .kind -}}
{{- $made := index $secret.create .value -}}
{{- if and $secret.existing $made -}}
{{- fail (printf "secrets.%s: both existing and create.%s are set; say which Secret it is" .kind .value) -}}
{{- end -}}
{{- if $made }}{{ $secret.create.name }}{{ else }}{{ $secret.existing | default "" }}{{ end -}}
{{- end }}

{{- define "reranker.secret.ngc" -}}
{{- include "reranker.secret" (dict "secrets" .Values.secrets "kind" "ngc" "value" "apiKey") -}}
{{- end }}
{{- define "reranker.secret.huggingFace" -}}
{{- include "reranker.secret" (dict "secrets" .Values.secrets "kind" "huggingFace" "value" "token") -}}
{{- end }}
{{- define "reranker.secret.imagePull" -}}
{{- include "reranker.secret" (dict "secrets" .Values.secrets "kind" "imagePull" "value" "password") -}}
{{- end }}

{{- /* Namespaces that `secrets` are made in, as a JSON list. */ -}}
{{- define "reranker.secret.namespaces" -}}
{{- $names := .Values.secrets.namespaces -}}
{{- if not $names -}}
{{- $names = .Values.watchNamespaces | default list -}}
{{- range .Values.services }}{{ if . }}{{ $names = append $names (.namespace | default $.Release.Namespace) }}{{ end }}{{ end -}}
{{- end -}}
{{- $names | default (list .Release.Namespace) | uniq | sortAlpha | toJson -}}
{{- end }}
