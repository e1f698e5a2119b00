{{- define "gateway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "gateway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "gateway.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "gateway.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "gateway.selectorLabels" -}}
app.kubernetes.io/name: {{ include "gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "gateway.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "gateway.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "gateway.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "gateway.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "gateway.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "gateway.usersSecret" -}}
{{- default (printf "%s-users" (include "gateway.fullname" .)) .Values.users.existingSecret -}}
{{- end -}}

{{/* How long a pod may take to end: the drain, what goes before it, and what the gateway itself needs after it. */}}
{{- define "gateway.graceSeconds" -}}
{{- $server := default dict .Values.config.server -}}
{{- add (ceil (dig "drain_seconds" 30.0 $server)) .Values.preStopSeconds 20 -}}
{{- end -}}

{{/* gateway.yaml: what the chart knows, and over it what `config` says. */}}
{{- define "gateway.settings" -}}
{{- $listener := dict "host" "0.0.0.0" -}}
{{- if .Values.tls.existingSecret -}}
{{- $_ := set $listener "tls" (dict "certificate" "/etc/gateway/tls/tls.crt" "key" "/etc/gateway/tls/tls.key") -}}
{{- end -}}
{{- $trino := merge (dict "name" "trino" "wire" "trino" "port" 8080) $listener -}}
{{- $clickhouse := merge (dict "name" "clickhouse" "wire" "clickhouse" "port" 8123) $listener -}}
{{- $ours := dict
  "version" 1
  "listeners" (list $trino $clickhouse)
  "metrics" (dict "host" "0.0.0.0" "port" (int .Values.metrics.port))
  "admin" (dict "socket" "/var/lib/gateway/admin.sock")
  "audit" (dict "directory" "/var/lib/gateway/audit")
  "store" (dict "url" "sqlite:////var/lib/gateway/gateway.db")
  "server" (dict "state" "/var/lib/gateway/state")
-}}
{{- if .Values.serverKey.existingSecret -}}
{{- $_ := set $ours.server "key" (dict "env" "GATEWAY_SERVER_KEY") -}}
{{- end -}}
{{- if .Values.encryptionKey.existingSecret -}}
{{- $_ := set $ours.store "encryption_key" (dict "env" "GATEWAY_ENCRYPTION_KEY") -}}
{{- end -}}
{{- if .Values.rules -}}
{{- $_ := set $ours "rules" (dict "directory" "/etc/gateway/rules") -}}
{{- end -}}
{{- toYaml (mergeOverwrite $ours (deepCopy .Values.config)) -}}
{{- end -}}

{{- define "gateway.checks" -}}
{{- $several := or (gt (int .Values.replicas) 1) .Values.autoscaling.enabled -}}
{{- if and $several (not .Values.serverKey.existingSecret) (not (dig "server" "key" "" .Values.config)) -}}
{{- fail "several pods need serverKey.existingSecret: a Secret with 32 or more characters under serverKey.key, so that transactions, sessions and query ids that one pod gave out open on the others" -}}
{{- end -}}
{{- end -}}
