{{/* Names and parts that several manifests share. */}}

{{- define "freshet.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Pod names become node ids and host names: letters, digits and hyphens, and room for "-coordinator-…". */}}
{{- define "freshet.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | replace "." "-" | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "freshet.name" .) .Release.Name }}
{{- .Release.Name | replace "." "-" | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "freshet.name" .) | replace "." "-" | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "freshet.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: freshet
{{ include "freshet.selector" . }}
{{- end }}

{{- define "freshet.selector" -}}
app.kubernetes.io/name: {{ include "freshet.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "freshet.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "freshet.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "freshet.fullname" .) }}
{{- else }}{{ .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{- define "freshet.secret" -}}
{{ .Values.auth.existingSecret | default (include "freshet.fullname" .) }}
{{- end }}

{{- define "freshet.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "freshet.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Environment of both roles. */}}
{{- define "freshet.env" -}}
- {name: FRESHET_LOG, value: {{ .Values.log.format }}}
- {name: FRESHET_LOG_LEVEL, value: {{ .Values.log.level | quote }}}
- {name: FRESHET_CONFIG, value: /etc/freshet/config/freshet.toml}
- {name: FRESHET_API_KEY_FILE, value: /etc/freshet/secret/api-keys}
- {name: FRESHET_CLUSTER_SECRET_FILE, value: /etc/freshet/secret/cluster-secret}
{{- with .Values.etcdAuth }}
{{- if .existingSecret }}
- {name: FRESHET_ETCD_USER, value: {{ .user | quote }}}
- {name: FRESHET_ETCD_PASSWORD_FILE, value: /etc/freshet/etcd/password}
{{- end }}
{{- end }}
{{- if .Values.natsAuth.existingSecret }}
- {name: FRESHET_NATS_CREDS, value: /etc/freshet/nats/nats.creds}
{{- end }}
- {name: FRESHET_ETCD, value: {{ join "," .Values.etcd | quote }}}
- {name: FRESHET_NATS, value: {{ join "," .Values.nats | quote }}}
{{- with .Values.publicUrl }}
- {name: FRESHET_PUBLIC_URL, value: {{ . | quote }}}
{{- end }}
{{- with .Values.trustedProxies }}
- {name: FRESHET_TRUSTED_PROXY, value: {{ join "," . | quote }}}
{{- end }}
- {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
- {name: HOST_IP, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
- {name: FRESHET_ID, value: $(POD_NAME)}
{{- end }}

{{- define "freshet.volumeMounts" -}}
- {name: config, mountPath: /etc/freshet/config, readOnly: true}
- {name: secret, mountPath: /etc/freshet/secret, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if .Values.etcdAuth.existingSecret }}
- {name: etcd, mountPath: /etc/freshet/etcd, readOnly: true}
{{- end }}
{{- if .Values.natsAuth.existingSecret }}
- {name: nats, mountPath: /etc/freshet/nats, readOnly: true}
{{- end }}
{{- end }}

{{- define "freshet.volumes" -}}
- name: config
  configMap: {name: {{ include "freshet.fullname" . }}}
- name: secret
  secret:
    secretName: {{ include "freshet.secret" . }}
    defaultMode: 0440
    items:
      - {key: api-keys, path: api-keys}
      - {key: cluster-secret, path: cluster-secret}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- with .Values.etcdAuth.existingSecret }}
- name: etcd
  secret: {secretName: {{ . }}, defaultMode: 0440, items: [{key: password, path: password}]}
{{- end }}
{{- with .Values.natsAuth.existingSecret }}
- name: nats
  secret: {secretName: {{ . }}, defaultMode: 0440, items: [{key: nats.creds, path: nats.creds}]}
{{- end }}
{{- end }}

{{/* A pod restarts when what it reads at start changes. A made-up secret stays as it is. */}}
{{- define "freshet.checksums" -}}
checksum/config: {{ .Values.config | sha256sum }}
checksum/auth: {{ .Values.auth | toJson | sha256sum }}
{{- end }}

{{/* Spread over hosts and zones, as far as there are any. Called with (dict "root" $ "component" …). */}}
{{- define "freshet.spread" -}}
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "freshet.selector" $.root | nindent 6 }}
      app.kubernetes.io/component: {{ $.component }}
{{- end }}
{{- end }}

{{/* What an operator may add to a pod. Called with a role's values. */}}
{{- define "freshet.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* Called with (dict "scheme" …). */}}
{{- define "freshet.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: http, scheme: {{ .scheme }}}
  periodSeconds: 2
  failureThreshold: 30
livenessProbe:
  httpGet: {path: /healthz, port: http, scheme: {{ .scheme }}}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: http, scheme: {{ .scheme }}}
  periodSeconds: 3
  timeoutSeconds: 2
  failureThreshold: 2
{{- end }}
